//! Writes the default configuration as a commented TOML file.
use std::fmt::Write;

use alloy::primitives::U256;
use anyhow::Context;
use serde_json::Value;

use super::{
    Config,
    settings::{SETTINGS, Setting},
};

/// The default configuration, every setting with a comment; a setting without default is commented out.
///
/// # Errors
/// When a setting has no TOML form; a test rules that out.
pub fn print_default() -> anyhow::Result<String> {
    let defaults = serde_json::to_value(Config::default()).context("the default configuration cannot be written")?;
    let mut file = String::from("# Streamflow. Every value here is the default; delete what you do not change.\n");
    file.push_str("# Environment variables come on top: STREAMFLOW_CHAIN__RPC_URL is chain.rpc_url.\n");
    let mut section = "";
    for setting in SETTINGS {
        let (parent, name) = setting.key.rsplit_once('.').unwrap_or(("", setting.key));
        if parent != section {
            section = parent;
            write!(file, "\n[{section}]\n")?;
        }
        write_setting(&mut file, setting, name, lookup(&defaults, setting.key))?;
    }
    Ok(file)
}

fn write_setting(file: &mut String, setting: &Setting, name: &str, value: &Value) -> anyhow::Result<()> {
    for line in setting.doc.lines() {
        writeln!(file, "# {line}")?;
    }
    match (value, setting.example) {
        (Value::Null, Some(example)) => writeln!(file, "#{name} = {example}")?,
        (Value::Null, None) => anyhow::bail!("{} has neither a default nor an example", setting.key),
        (Value::Array(items), _) if !items.is_empty() => {
            let items: Vec<_> = items.iter().map(|item| format!("    {},\n", toml_value(item))).collect();
            writeln!(file, "{name} = [\n{}]", items.concat())?;
        }
        (value, _) => writeln!(file, "{name} = {}", toml_value(value))?,
    }
    Ok(())
}

/// `value` in TOML, on one line. JSON and TOML write text, numbers and truth values alike.
pub(crate) fn toml_value(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            let fields: Vec<_> = fields.map(|(name, value)| format!("{name} = {}", toml_value(value))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(toml_value).collect::<Vec<_>>().join(", ")),
        Value::String(text) => match amount(text) {
            Some(amount) => format!("\"{amount}\""),
            None => value.to_string(),
        },
        other => other.to_string(),
    }
}

/// Amounts are serialised in hexadecimal; people read decimal. An address has 42 characters and is left alone.
fn amount(text: &str) -> Option<U256> {
    let digits = text.strip_prefix("0x").filter(|digits| !digits.is_empty() && digits.len() < 40)?;
    U256::from_str_radix(digits, 16).ok()
}

fn lookup<'a>(value: &'a Value, key: &str) -> &'a Value {
    key.split('.').fold(value, |value, name| &value[name])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Full names of all values; what SETTINGS describes as a whole counts as one.
    fn leaves(value: &Value, prefix: &str, names: &mut Vec<String>) {
        let described = SETTINGS.iter().any(|setting| setting.key == prefix);
        match value {
            Value::Object(fields) if !described => {
                for (name, value) in fields {
                    let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                    leaves(value, &key, names);
                }
            }
            _ => names.push(prefix.to_owned()),
        }
    }

    fn json(config: &Config) -> Value {
        serde_json::to_value(config).unwrap()
    }

    #[test]
    fn default_file_parses_back_to_the_default() {
        let text = print_default().unwrap();
        let config: Config = toml::from_str(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!(json(&config), json(&Config::default()), "{text}");
    }

    #[test]
    fn every_setting_is_described_once() {
        let mut names = Vec::new();
        leaves(&json(&Config::default()), "", &mut names);
        let described: Vec<&str> = SETTINGS.iter().map(|setting| setting.key).collect();
        let missing: Vec<_> = names.iter().filter(|name| !described.contains(&name.as_str())).collect();
        assert!(missing.is_empty(), "SETTINGS lacks {missing:?}");
        let stale: Vec<_> = described.iter().filter(|key| !names.iter().any(|name| name == *key)).collect();
        assert!(stale.is_empty(), "SETTINGS describes what is no setting: {stale:?}");
        assert_eq!(described.len(), names.len(), "SETTINGS describes something twice");
    }

    #[test]
    fn examples_of_optional_settings_are_valid() {
        for setting in SETTINGS {
            let Some(example) = setting.example else { continue };
            let (section, name) = setting.key.rsplit_once('.').unwrap();
            let text = format!("[{section}]\n{name} = {example}\n");
            assert!(toml::from_str::<Config>(&text).is_ok(), "{text}");
        }
    }

    #[test]
    fn amounts_are_decimal_and_addresses_stay() {
        assert_eq!(toml_value(&"0x1dcd65000".into()), "\"8000000000\"");
        assert_eq!(toml_value(&"0x0".into()), "\"0\"");
        let address = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266";
        assert_eq!(toml_value(&address.into()), format!("\"{address}\""));
    }
}
