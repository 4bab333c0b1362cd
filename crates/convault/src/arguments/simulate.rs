//! `convault simulate …`

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:3210")]
    pub(crate) listen: std::net::SocketAddr,
    /// The admin key to accept; a made-up one, since arguments can be seen by others on this machine
    #[arg(long)]
    pub(crate) key: String,
    /// The seed of generated data
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Tables to generate; without any of these numbers the deployment is empty
    #[arg(long)]
    pub(crate) tables: Option<u32>,
    /// Documents in each table
    #[arg(long)]
    pub(crate) documents: Option<u64>,
    /// Bytes of each document, about
    #[arg(long)]
    pub(crate) document_bytes: Option<u32>,
    /// Stored files
    #[arg(long)]
    pub(crate) files: Option<u64>,
    /// Bytes of each stored file
    #[arg(long)]
    pub(crate) file_bytes: Option<u64>,
    /// Have about so many percent of the stored files replaced by others since a server with the same numbers
    #[arg(long, value_name = "PERCENT", default_value_t = 0)]
    pub(crate) changed_files: u64,
    /// Have the generated document of this id deleted since a server with the same numbers; may be repeated
    #[arg(long = "deleted-document", value_name = "ID")]
    pub(crate) deleted_documents: Vec<String>,
    /// Components beside the root
    #[arg(long)]
    pub(crate) components: Option<u32>,
    /// Put this text into environment variables, scheduled functions, crons and code, for finding out where it goes
    #[arg(long, value_name = "TEXT")]
    pub(crate) plant: Option<String>,
    /// A fault to show, NAME or NAME=VALUE; may be repeated; `--fault list` names them all
    #[arg(long = "fault", value_name = "NAME[=VALUE]")]
    pub(crate) faults: Vec<String>,
    /// Serve the management API there too, of project 1, whose deployments are made and deleted in this process
    #[arg(long, value_name = "ADDR")]
    pub(crate) platform_listen: Option<std::net::SocketAddr>,
    /// The access token that the management API accepts; a made-up one
    #[arg(long, value_name = "TOKEN", default_value = "simulated-token", requires = "platform_listen")]
    pub(crate) platform_token: String,
    /// Serve S3 there too; its key pair is `$AWS_ACCESS_KEY_ID` and `$AWS_SECRET_ACCESS_KEY`, else `convault`
    /// and `convault-secret`
    #[arg(long, value_name = "ADDR")]
    pub(crate) s3_listen: Option<std::net::SocketAddr>,
    /// Keep S3 objects there instead of in memory
    #[arg(long, value_name = "DIR", requires = "s3_listen")]
    pub(crate) s3_root: Option<PathBuf>,
    /// Keep old versions of S3 objects
    #[arg(long, requires = "s3_listen", conflicts_with = "s3_root")]
    pub(crate) s3_versions: bool,
    /// Have Object Lock in all buckets, and versions with it
    #[arg(long, requires = "s3_listen", conflicts_with = "s3_root")]
    pub(crate) s3_lock: bool,
    /// Have every new S3 object locked by default for so many days (governance)
    #[arg(long, value_name = "DAYS", requires = "s3_lock")]
    pub(crate) s3_default_lock: Option<u32>,
}
