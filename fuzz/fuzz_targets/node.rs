//! [`synod_fuzz::node`] with libFuzzer's bytes; without it, with those of the files named.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| synod_fuzz::node::run(bytes));

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    std::env::args_os().skip(1).try_for_each(|file| {
        synod_fuzz::node::run(&std::fs::read(file)?);
        Ok(())
    })
}
