//! `rft config`: the peer's options in force, and where each is from.

use super::args::settings::Setting;
use super::args::{CommandLine, ConfigArgs};
use super::exit::Failure;
use super::{password, print};
use rft::escape;

/// Prints a line for each option.
///
/// # Errors
/// PEER, PORT or the value of an option cannot be used: its exit code.
pub(crate) fn run(line: &CommandLine, args: &ConfigArgs) -> Result<(), Failure> {
    args.check()?;
    let file = match &line.config_file {
        Some(file) => file.display().to_string(),
        None => "none (rft.toml in --dir, or --config FILE)".to_owned(),
    };
    let mut rows = vec![["configuration file".to_owned(), escape(file.as_bytes()), String::new()]];
    for setting in &line.settings {
        let value =
            setting.value.as_deref().map_or_else(|| "-".to_owned(), |v| escape(v.as_bytes()));
        rows.push([setting.name.clone(), value, escape(setting.source.as_bytes())]);
    }
    for variable in [password::VARIABLE, super::log::VARIABLE] {
        if std::env::var_os(variable).is_some() {
            let unused = variable == password::VARIABLE && line.settings.iter().any(has_password);
            let value = if unused { "set, but password-file wins" } else { "set" };
            rows.push([variable.to_owned(), value.to_owned(), "environment".to_owned()]);
        }
    }
    let width = |column: usize| {
        rows.iter().skip(1).map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let (names, values) = (width(0), width(1));
    let lines = rows.iter().map(|[name, value, source]| {
        let line = format!("{name:names$}  {value:values$}  {source}");
        format!("{}\n", line.trim_end())
    });
    print(lines.collect::<String>().as_bytes())
}

fn has_password(setting: &Setting) -> bool {
    setting.name == "password-file" && setting.value.is_some()
}
