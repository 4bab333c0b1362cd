//! A simulated deployment, settings in a temporary folder, and the program.

use std::{
    fmt::Write as _,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use convault_core::{DestinationName, Secret};
use convault_simulator::{
    Data, Database, Fault, RunningSimulator, Simulator, SimulatorConfig,
    s3::{RunningS3, S3Server, S3ServerConfig},
};
use convault_uploader::{S3Settings, S3Store, S3Timeouts};

pub(crate) const KEY: &str = "simulated|5ec2e7";
const S3_ACCESS_KEY: &str = "convault";
const S3_SECRET_KEY: &str = "convault-secret";

/// One deployment, its settings, and a folder for everything.
pub(crate) struct Setting {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) deployment: RunningSimulator,
    pub(crate) config: PathBuf,
}

impl Setting {
    /// A deployment with a small company's data and one job, `nightly`, to a directory.
    pub(crate) async fn new(faults: &[&str]) -> Self {
        Self::with_export_time(faults, Duration::from_millis(50)).await
    }

    pub(crate) async fn with_export_time(faults: &[&str], export_time: Duration) -> Self {
        let faults = faults.iter().map(|text| text.parse::<Fault>().unwrap()).collect();
        let data = Data::Database(Box::new(Database::crm(1)));
        let config = SimulatorConfig { data, faults, export_time, ..SimulatorConfig::new(Secret::new(KEY)) };
        let deployment = Simulator::start(config).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("convault.toml");
        let setting = Self { folder, deployment, config };
        setting.write_settings(&["shelf"], "");
        setting
    }

    /// Writes the settings anew: directory destinations of these names, and more lines for the job.
    pub(crate) fn write_settings(&self, destinations: &[&str], job: &str) {
        self.write_all_settings(destinations, "", "", job);
    }

    /// The same, with more lines for the daemon and with more sections.
    pub(crate) fn write_all_settings(&self, destinations: &[&str], daemon: &str, sections: &str, job: &str) {
        let folder = self.folder.path().display();
        let mut text = format!(
            "[daemon]\nlisten = \"127.0.0.1:0\"\nstate_dir = \"{folder}/state\"\nsocket = \"{folder}/socket\"\n\
             log = \"text\"\nstop_grace = \"20s\"\n{daemon}\n[[deployment]]\nname = \"crm\"\nurl = \"{}\"\n\
             key = {{ env = \"DEPLOY_KEY\" }}\nexport_deadline = \"20s\"\n{sections}\n",
            self.deployment.url()
        );
        for name in destinations.iter().filter(|name| !sections.contains(&format!("name = \"{name}\""))) {
            let place = self.path(name);
            if !place.exists() {
                std::fs::create_dir(&place).unwrap();
            }
            write!(text, "[[destination]]\nname = \"{name}\"\ndirectory = \"{folder}/{name}\"\n").unwrap();
        }
        write!(text, "[[job]]\nname = \"nightly\"\ndeployment = \"crm\"\nto = {destinations:?}\n{job}\n")
            .unwrap();
        std::fs::write(&self.config, text).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program with these arguments, these settings, and nothing else of ours in its environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_convault"));
        command.arg("--config").arg(&self.config).args(arguments).current_dir(self.folder.path());
        command.env_remove("CONVAULT_FIXTURES").env("DEPLOY_KEY", KEY);
        command.env("AWS_ACCESS_KEY_ID", S3_ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", S3_SECRET_KEY);
        command
    }

    /// Runs to the end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ended {
        let mut command = self.command(arguments);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        Ended::from(output)
    }

    /// Backs up, with that exit code, and gives the snapshot's identifier.
    pub(crate) async fn back_up(&self, code: i32) -> String {
        let backup = self.run(&["--json", "backup", "nightly"]).await;
        assert_eq!(backup.code, Some(code), "{backup:?}");
        let record: serde_json::Value = serde_json::from_str(&backup.stdout).unwrap();
        record["snapshot"].as_str().unwrap().to_owned()
    }

    /// Runs to the end and reads what it printed as JSON.
    pub(crate) async fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let ended = self.run(&[&["--json"], arguments].concat()).await;
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
    }
}

/// An S3 server in this process, before it is started.
pub(crate) fn s3_server(faults: &[&str]) -> S3Server {
    S3Server::new(S3ServerConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        root: None,
        access_key: S3_ACCESS_KEY.to_owned(),
        secret_key: Secret::new(S3_SECRET_KEY),
        faults: faults.iter().map(|text| text.parse().unwrap()).collect(),
    })
}

/// The section of a destination `offsite` there.
pub(crate) fn s3_section(server: &RunningS3) -> String {
    format!(
        "[[destination]]\nname = \"offsite\"\ns3 = {{ profile = \"minio\", bucket = \"backups\", \
         prefix = \"convex\", endpoint = \"{}\" }}\n",
        server.endpoint()
    )
}

/// The same place, reached past the program.
pub(crate) fn s3_store(server: &RunningS3) -> S3Store {
    let settings = S3Settings {
        bucket: "backups".to_owned(),
        prefix: "convex".to_owned(),
        region: "us-east-1".to_owned(),
        endpoint: Some(server.endpoint()),
        path_style: true,
        sends_checksums: true,
        access_key: Secret::new(S3_ACCESS_KEY),
        secret_key: Secret::new(S3_SECRET_KEY),
        session_token: None,
        ca_file: None,
        timeouts: S3Timeouts::default(),
    };
    S3Store::new(DestinationName::new("offsite").unwrap(), &settings).unwrap()
}

/// How a run of the program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A running daemon, which is ended when dropped.
pub(crate) struct RunningDaemon {
    child: Child,
    log: PathBuf,
    pub(crate) address: String,
}

impl RunningDaemon {
    /// Starts `convault run` and waits until it says that it is ready.
    pub(crate) async fn start(setting: &Setting) -> Self {
        let mut daemon = Self::spawn(setting);
        let text = daemon.wait_for("ready").await;
        let listen = text.split("listen=").nth(1).unwrap();
        listen.split_whitespace().next().unwrap().clone_into(&mut daemon.address);
        daemon
    }

    /// Starts `convault run` and waits for nothing.
    pub(crate) fn spawn(setting: &Setting) -> Self {
        let log = setting.path("daemon.log");
        let file = std::fs::File::create(&log).unwrap();
        let child = setting.command(&["run"]).stdout(Stdio::null()).stderr(file).spawn().unwrap();
        Self { child, log, address: String::new() }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until the log has `text`.
    pub(crate) async fn wait_for(&mut self, text: &str) -> String {
        let began = Instant::now();
        loop {
            let log = self.log();
            if log.contains(text) {
                return log;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the daemon ended ({ended:?}) before it said {text:?}: {log}");
            assert!(began.elapsed() < Duration::from_mins(5), "the daemon never said {text:?}: {log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sends a signal by name, as `kill` does.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Waits for the end.
    pub(crate) async fn end(mut self) -> Option<i32> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(began.elapsed() < Duration::from_mins(5), "the daemon does not end: {}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The answer to a GET, head and body.
    pub(crate) fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for RunningDaemon {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Every file below a folder.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries
        .flat_map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() { files_below(&path) } else { vec![path] }
        })
        .collect()
}
