//! Signing keys, and what nobody trusted has signed.

use std::os::unix::fs::PermissionsExt as _;

use crate::support::{Setting, files_below};

async fn with_key(setting: &Setting) -> String {
    let made = setting.run(&["keygen", "signing", "--output", "signing.key"]).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(made.stderr.contains("[signing]") && made.stderr.contains("paper"), "{made:?}");
    let key = setting.path("signing.key");
    let section = format!("[signing]\nkey = {{ file = \"{}\" }}\n", key.display());
    setting.write_all_settings(&["shelf"], "", &section, "");
    made.stdout.trim().to_owned()
}

/// Somebody who can write there can make the checksum right, and not the signature.
fn forge(manifest: &str) -> String {
    let (body, _) = manifest.split_once("  \"checksum\"").unwrap();
    let body = body.replace("on-demand", "scheduled");
    let checksum = convault_core::Sha256::of(body.as_bytes());
    format!("{body}  \"checksum\": \"{checksum}\"\n}}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_for_its_owner_alone_and_never_overwritten() {
    let setting = Setting::new(&[]).await;
    let public = with_key(&setting).await;
    assert!(public.starts_with("RW") && !public.contains(' '), "{public}");
    let key = setting.path("signing.key");
    let before = std::fs::read(&key).unwrap();
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let again = setting.run(&["keygen", "signing", "--output", "signing.key"]).await;
    assert_eq!(again.code, Some(1), "{again:?}");
    assert_eq!(std::fs::read(&key).unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_manifest_is_refused_everywhere_and_nothing_is_removed() {
    let setting = Setting::new(&[]).await;
    with_key(&setting).await;
    let id = setting.back_up(0).await;
    let shown = setting.json(&["show", &id]).await;
    assert_eq!(shown["signature"], "by a trusted key", "{shown}");
    assert_eq!(setting.run(&["verify", "--read-data"]).await.code, Some(0));

    let files = files_below(&setting.path("shelf"));
    let manifest = files.iter().find(|path| path.ends_with("manifest.json")).unwrap();
    let forged = forge(&std::fs::read_to_string(manifest).unwrap());
    std::fs::write(manifest, forged).unwrap();
    let list = setting.run(&["list"]).await;
    assert!(list.stdout.contains("untrusted"), "{list:?}");
    assert!(list.stderr.contains("warning") && list.stderr.contains(&id), "{list:?}");
    assert_eq!(setting.run(&["verify"]).await.code, Some(5));
    let download = setting.run(&["download", &id, "--output", "out.zip"]).await;
    assert_eq!(download.code, Some(5), "{download:?}");
    assert!(download.stderr.contains("altered"), "{download:?}");
    assert_eq!(setting.run(&["accept", &id]).await.code, Some(6));

    let signature = manifest.with_file_name("manifest.json.minisig");
    std::fs::remove_file(&signature).unwrap();
    let prune = setting.run(&["prune", "nightly"]).await;
    assert_eq!(prune.code, Some(0), "{prune:?}");
    let verify = setting.run(&["verify"]).await;
    assert_eq!(verify.code, Some(5), "{verify:?}");
    assert!(verify.stdout.contains("not signed"), "{verify:?}");
    let there = files_below(manifest.parent().unwrap());
    assert!(there.iter().any(|path| path.extension().is_some_and(|end| end == "zip")), "{there:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_be_used_is_a_wrong_setting() {
    let setting = Setting::new(&[]).await;
    with_key(&setting).await;
    let key = setting.path("signing.key");
    let text = std::fs::read_to_string(&key).unwrap();
    let mut lines = text.lines();
    let (comment, mut body) = (lines.next().unwrap(), lines.next().unwrap().to_owned());
    // Somewhere in the secret half.
    let place = body.len() / 2;
    let other = if body.as_bytes()[place] == b'A' { "B" } else { "A" };
    body.replace_range(place..=place, other);
    std::fs::write(&key, format!("{comment}\n{body}\n")).unwrap();
    for arguments in [&["run"][..], &["list"], &["backup", "nightly"]] {
        let ended = setting.run(arguments).await;
        assert_eq!(ended.code, Some(78), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains("signing.key"), "{ended:?}");
        assert!(!ended.stderr.contains(&body), "{ended:?}");
    }
}
