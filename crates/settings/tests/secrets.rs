//! Where secrets are read from, and what is refused.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like the tests")]

use std::{
    ffi::OsString,
    fs,
    os::unix::{
        ffi::OsStringExt as _,
        fs::{PermissionsExt as _, symlink},
    },
    path::{Path, PathBuf},
};

use convault_settings::{Environment, Settings, socket_path};
use tempfile::TempDir;

fn secret_file(folder: &TempDir, content: &[u8], mode: u32) -> PathBuf {
    let path = folder.path().join(format!("secret-{mode:o}"));
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

/// The key that `key` leads to, or what was said.
fn read(key: &str, environment: &Environment) -> Result<String, String> {
    let text = format!("[[deployment]]\nname = \"crm\"\nkey = {key}\n");
    match Settings::parse(Path::new("/etc/convault.toml"), &text, environment) {
        Ok(settings) => Ok(settings.deployments[0].key.expose().to_owned()),
        Err(problems) => Err(problems.0[0].to_string()),
    }
}

fn read_file(path: &Path) -> Result<String, String> {
    read(&format!("{{ file = \"{}\" }}", path.display()), &Environment::default())
}

fn with(value: &str) -> Environment {
    Environment::new([("CRM_KEY", value)])
}

#[test]
fn a_secret_is_one_line_without_its_line_end() {
    let key = "{ env = \"CRM_KEY\" }";
    for good in ["prod:a|b", "prod:a|b\n", "prod:a|b\r\n"] {
        assert_eq!(read(key, &with(good)).unwrap(), "prod:a|b");
    }
    for (bad, why) in [
        ("", "which is empty"),
        ("\n", "which is empty"),
        ("a\nb", "which has several lines"),
        ("a\n\n", "which has several lines"),
        (" a", "which has spaces around"),
        ("a\tb", "control characters"),
    ] {
        let said = read(key, &with(bad)).unwrap_err();
        assert!(said.contains("$CRM_KEY") && said.contains(why), "{bad:?}: {said}");
    }
    let odd = Environment::new([(OsString::from("CRM_KEY"), OsString::from_vec(vec![0xff, 0xfe]))]);
    assert!(read(key, &odd).unwrap_err().contains("which is not UTF-8"));
    assert!(
        read(key, &Environment::default()).unwrap_err().contains("no variable CRM_KEY in the environment")
    );
}

#[test]
fn a_file_that_others_may_read_is_refused_with_the_command_that_helps() {
    let folder = tempfile::tempdir().unwrap();
    for mode in [0o600, 0o400, 0o500] {
        assert_eq!(read_file(&secret_file(&folder, b"prod:a|b\n", mode)).unwrap(), "prod:a|b");
    }
    for mode in [0o644, 0o640, 0o604, 0o660, 0o602] {
        let path = secret_file(&folder, b"hunter2", mode);
        let said = read_file(&path).unwrap_err();
        assert!(said.contains(&format!("chmod 600 {}", path.display())), "{said}");
        assert!(said.contains(&format!("mode {mode:04o}")) && !said.contains("hunter2"), "{said}");
    }
}

#[test]
fn a_link_counts_as_the_file_it_leads_to() {
    let folder = tempfile::tempdir().unwrap();
    let link = |name: &str, mode: u32| {
        let link = folder.path().join(name);
        symlink(secret_file(&folder, b"prod:a|b", mode), &link).unwrap();
        link
    };
    assert_eq!(read_file(&link("tight", 0o400)).unwrap(), "prod:a|b");
    assert!(read_file(&link("loose", 0o444)).unwrap_err().contains("chmod 600"));
}

#[test]
fn what_is_not_a_file_with_a_secret_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert!(read_file(folder.path()).unwrap_err().contains("which is not a file"));
    assert!(read_file(Path::new("/dev/null")).unwrap_err().contains("which is not a file"));
    assert!(read_file(&folder.path().join("none")).unwrap_err().contains("No such file"));
    let large = secret_file(&folder, &vec![b'a'; 70_000], 0o600);
    assert!(read_file(&large).unwrap_err().contains("far too long"));
    let empty = secret_file(&folder, b"", 0o600);
    assert!(read_file(&empty).unwrap_err().contains("which is empty"));
}

#[test]
fn a_file_beside_the_settings_is_found_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = secret_file(&folder, b"prod:a|b", 0o600);
    let settings = folder.path().join("convault.toml");
    let name = path.file_name().unwrap().to_str().unwrap();
    fs::write(&settings, format!("[[deployment]]\nname = \"crm\"\nkey = {{ file = \"{name}\" }}\n")).unwrap();
    let settings = Settings::load(Some(&settings), &Environment::default()).unwrap();
    assert_eq!(settings.deployments[0].key.expose(), "prod:a|b");
    let origin = settings.effective().iter().find(|effective| effective.key == "deployment.crm.key").unwrap();
    assert_eq!(origin.origin.to_string(), format!("file {}", path.display()));
}

#[test]
fn a_credential_is_read_from_systemds_folder_whatever_its_mode() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("crm-key"), "prod:a|b\n").unwrap();
    let environment = Environment::new([("CREDENTIALS_DIRECTORY", folder.path())]);
    assert_eq!(read("{ credential = \"crm-key\" }", &environment).unwrap(), "prod:a|b");
    let said = read("{ credential = \"other\" }", &environment).unwrap_err();
    assert!(said.contains("LoadCredential=other:/path/to/it"), "{said}");
    let said = read("{ credential = \"crm-key\" }", &Environment::default()).unwrap_err();
    assert!(said.contains("no $CREDENTIALS_DIRECTORY") && said.contains("LoadCredential=crm-key:"), "{said}");
    let said = read("{ credential = \"../crm-key\" }", &environment).unwrap_err();
    assert!(said.contains("no credential's name"), "{said}");
}

#[test]
fn exactly_one_way_is_given() {
    let said = read("{ env = \"CRM_KEY\", credential = \"x\" }", &with("a")).unwrap_err();
    assert!(
        said.contains("deployment.crm.key: found `credential` and `env`; expected exactly one of them"),
        "{said}"
    );
    let said = read("{}", &with("a")).unwrap_err();
    assert!(said.contains("found none of them; expected { credential = \"NAME\" }"), "{said}");
    let said = read("\"prod:a|b\"", &with("a")).unwrap_err();
    assert!(
        said.contains("found a plain string") && said.contains("never written into the settings"),
        "{said}"
    );
}

#[test]
fn a_token_that_can_be_guessed_is_refused() {
    let text = "[daemon]\ntoken = { env = \"TOKEN\" }\n";
    let parse = |token: &str| {
        Settings::parse(Path::new("/etc/convault.toml"), text, &Environment::new([("TOKEN", token)]))
    };
    assert!(parse("0123456789abcdef").is_ok());
    assert!(parse("hunter2").unwrap_err().to_string().contains("16 or more letters"));
    assert!(parse("0123456789 abcdef").is_err());
}

#[test]
fn the_socket_is_found_without_reading_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("convault.toml");
    let text =
        "[daemon]\nsocket = \"/tmp/c.sock\"\n[[deployment]]\nname = \"crm\"\nkey = { file = \"/nowhere\" }\n";
    fs::write(&file, text).unwrap();
    let none = Environment::default();
    assert_eq!(socket_path(Some(&file), &none), Path::new("/tmp/c.sock"));
    let variable = Environment::new([("CONVAULT_SOCKET", "/tmp/d.sock")]);
    assert_eq!(socket_path(Some(&file), &variable), Path::new("/tmp/d.sock"));
    assert_eq!(socket_path(Some(Path::new("/nowhere")), &none), Path::new("/run/convault/convault.sock"));
    fs::write(&file, "[daemon]\nsocket = 7\n").unwrap();
    assert_eq!(socket_path(Some(&file), &none), Path::new("/run/convault/convault.sock"));
}
