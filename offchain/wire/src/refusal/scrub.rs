//! What is nobody else's business is taken out of a text before it leaves: paths, URLs, addresses of machines, SQL.

/// Put in place of what is taken out.
const GONE: &str = "…";
/// Words that begin a statement to a database.
const SQL: [&str; 6] = ["SELECT", "INSERT", "UPDATE", "DELETE", "PRAGMA", "CREATE"];

/// What may stand around a word.
const QUOTES: [char; 12] = ['"', '\'', '`', '(', ')', '[', ']', '<', '>', ',', ';', '!'];

/// The text without the words that name a file, a URL or a machine; without what follows the first word of a statement of SQL.
pub fn scrub(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    for word in text.split_inclusive(char::is_whitespace) {
        let bare = word.trim_end();
        if SQL.contains(&bare) {
            kept.push_str(GONE);
            break;
        }
        let core = bare.trim_matches(QUOTES).trim_end_matches([':', '.']);
        if names_a_place(core) {
            kept.push_str(&word.replacen(core, GONE, 1));
        } else {
            kept.push_str(word);
        }
    }
    kept
}

fn names_a_place(word: &str) -> bool {
    let absolute = word.starts_with('/') && word.len() > 1;
    let windows = word.as_bytes().get(1..3).is_some_and(|rest| rest == b":\\");
    let home = word.starts_with("~/") || word.starts_with("./") || word.starts_with("../");
    absolute || windows || home || word.contains("://") || word.contains("=/") || is_machine(word)
}

/// `host:port`, or an address without a port.
fn is_machine(word: &str) -> bool {
    if word.parse::<std::net::IpAddr>().is_ok() || word.parse::<std::net::SocketAddr>().is_ok() {
        return true;
    }
    word.rsplit_once(':').is_some_and(|(host, port)| host.contains('.') && port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_taken_out() {
        let cases = [
            ("cannot open /var/lib/streamflow/db.sqlite3: no such file", "cannot open …: no such file"),
            ("rpc \"https://user:key@rpc.example/v1\" is silent", "rpc \"…\" is silent"),
            ("connect to 10.0.0.7:5432 failed", "connect to … failed"),
            ("peer db.internal:5432, gone", "peer …, gone"),
            ("from ::1 again", "from … again"),
            ("error in SELECT secret FROM tickets", "error in …"),
            ("C:\\data\\key.pem is locked", "… is locked"),
            ("read ./key.pem and ~/.ssh/id", "read … and …"),
            ("file=/etc/passwd", "…"),
        ];
        for (text, expected) in cases {
            assert_eq!(scrub(text), expected);
        }
    }

    #[test]
    fn what_peers_match_on_stays() {
        for text in [
            "OrchestratorBusy",
            "TranscoderInvalidVideo",
            "Decoder not found",
            "Invalid data found when processing input",
            "price 10000000/1 wei per pixel",
            "segment of 0 bytes is not within 1 to 300000000",
            "30/1001 fps, 0.5 s, at 10:30",
            "0x1a642f0E3c3aF545E7AcBD38b07251B3990914F1",
        ] {
            assert_eq!(scrub(text), text);
        }
    }
}
