//! A bucket that somebody emptied, read by the versions it keeps.

use convault_core::Store as _;
use futures::TryStreamExt as _;
use jiff::Timestamp;

use crate::support::{Setting, s3_section, s3_server, s3_store};

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_bucket_is_listed_verified_and_downloaded_as_it_was() {
    let setting = Setting::new(&[]).await;
    let server = s3_server(&[]).with_versions().start().await.unwrap();
    setting.write_all_settings(&["offsite"], "", &s3_section(&server), "");
    let id = setting.back_up(0).await;
    let whole = setting.run(&["download", &id, "--output", "whole.zip"]).await;
    assert_eq!(whole.code, Some(0), "{whole:?}");
    // S3 tells times in whole seconds.
    tokio::time::sleep(std::time::Duration::from_millis(2100)).await;
    let before = Timestamp::now().to_string();
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;

    let store = s3_store(&server);
    let objects: Vec<_> = store.list("").try_collect().await.unwrap();
    for object in &objects {
        store.delete(&object.key).await.unwrap();
    }
    assert_eq!(setting.json(&["list"]).await.as_array().unwrap().len(), 0);
    let as_of = ["--bucket-as-of", before.as_str()];
    let list = setting.json(&[&["list"], &as_of[..]].concat()).await;
    assert_eq!((&list[0]["id"], &list[0]["state"]), (&id.as_str().into(), &"good".into()), "{list}");
    let verify = setting.run(&[&["verify", "--read-data"], &as_of[..]].concat()).await;
    assert_eq!(verify.code, Some(0), "{verify:?}");
    assert_eq!(setting.run(&[&["show", "latest"], &as_of[..]].concat()).await.code, Some(0));
    let got = setting.run(&[&["download", "latest", "--output", "then.zip"], &as_of[..]].concat()).await;
    assert_eq!(got.code, Some(0), "{got:?}");
    let read = |name| std::fs::read(setting.path(name)).unwrap();
    assert!(read("whole.zip") == read("then.zip"));
    let after: Vec<_> = store.list("").try_collect().await.unwrap();
    assert!(after.is_empty(), "looking back writes nothing: {after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_without_versions_says_so() {
    let setting = Setting::new(&[]).await;
    setting.back_up(0).await;
    let server = s3_server(&[]).start().await.unwrap();
    for section in [String::new(), s3_section(&server)] {
        let names: &[&str] = if section.is_empty() { &["shelf"] } else { &["offsite"] };
        setting.write_all_settings(names, "", &section, "");
        let list = setting.run(&["list", "--bucket-as-of", "2026-01-01"]).await;
        assert_eq!(list.code, Some(1), "{list:?}");
        assert!(list.stderr.contains("versions"), "{list:?}");
    }
}
