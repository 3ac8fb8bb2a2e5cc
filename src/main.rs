//! The `rft` command. All of it is in `cli`; what it drives is the library.

#![forbid(unsafe_code)]

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
