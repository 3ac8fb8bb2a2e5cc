#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rft::fuzzing::history_blocks(data));
