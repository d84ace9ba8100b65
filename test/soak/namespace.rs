//! Network namespaces: a site of its own, whose cable can be pulled.
use std::{
    net::{Ipv4Addr, SocketAddr},
    process::{Command, id},
};

use rand::Rng;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A namespace that a pair of virtual cards joins to this one.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
    card: String,
    /// Our end of the cable.
    pub(crate) outside: Ipv4Addr,
    /// Its end.
    pub(crate) inside: Ipv4Addr,
}

impl Namespace {
    /// # Errors
    /// What the system said: it takes root, and a kernel that lets us.
    pub(crate) fn create(index: usize) -> Result<Self, String> {
        let (name, card) = (format!("soak-{}-{index}", id()), format!("soak{index}b"));
        let (third, fourth) = (rand::rng().random::<u8>(), rand::rng().random_range(0..63_u8) * 4);
        let [outside, inside] = [1, 2].map(|host| Ipv4Addr::new(10, 213, third, fourth + host));
        let ours = format!("soak{}.{index}", id());
        ip(&["netns", "add", &name])?;
        // Removed with the namespace from here on.
        let namespace = Self { name, card, outside, inside };
        let (name, card) = (&namespace.name, &namespace.card);
        ip(&["link", "add", &ours, "type", "veth", "peer", "name", card, "netns", name])?;
        ip(&["addr", "add", &format!("{outside}/30"), "dev", &ours])?;
        ip(&["link", "set", &ours, "up"])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        // The site reaches itself by this address even when its cable is pulled.
        ip(&["-n", name, "addr", "add", &format!("{inside}/32"), "dev", "lo"])?;
        ip(&["-n", name, "addr", "add", &format!("{inside}/30"), "dev", card])?;
        ip(&["-n", name, "link", "set", card, "up"])?;
        Ok(namespace)
    }

    /// What runs a program in it.
    pub(crate) fn wrapper(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.name]
    }

    /// Pulls the cable, or puts it back.
    pub(crate) fn set_connected(&self, connected: bool) {
        ip(&["-n", &self.name, "link", "set", &self.card, if connected { "up" } else { "down" }]).unwrap();
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = ip(&["netns", "del", &self.name]) {
            eprintln!("soak: {error}");
        }
    }
}

fn ip(args: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(args).output().map_err(|error| format!("cannot run ip: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("ip {}: {}", args.join(" "), said.trim())) }
}

/// A port at our end of the cable that leads to one of this machine's own.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Gate {
    pub(crate) async fn open(outside: Ipv4Addr, port: u16) -> Self {
        let listener = TcpListener::bind((outside, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((mut inner, _)) = listener.accept().await {
                tokio::spawn(async move {
                    if let Ok(mut outer) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
                        // Ends when either side does.
                        let _ = copy_bidirectional(&mut inner, &mut outer).await;
                    }
                });
            }
        });
        Self { address, task }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}
