#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rft::fuzzing::probe_answers(data));
