//! What the S3 server in process offers beyond what the store asks of it, seen through the AWS SDK.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use aws_sdk_s3::{
    Client,
    config::{BehaviorVersion, Credentials, Region, RequestChecksumCalculation},
    error::ProvideErrorMetadata as _,
    primitives::DateTime,
    types::{
        ChecksumMode, CompletedMultipartUpload, CompletedPart, Delete, EncodingType, ObjectIdentifier,
        ObjectLockRetention, ObjectLockRetentionMode,
    },
};
use convault_core::{Clock as _, Secret, SystemClock};
use convault_simulator::s3::{RunningS3, S3Server, S3ServerConfig};

async fn server() -> (RunningS3, Client) {
    server_like(|server| server).await
}

async fn server_like(kind: impl FnOnce(S3Server) -> S3Server) -> (RunningS3, Client) {
    let server = S3Server::new(S3ServerConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        root: None,
        access_key: "convault".to_owned(),
        secret_key: Secret::new("convault-secret"),
        faults: Vec::new(),
    });
    let server = kind(server).start().await.unwrap();
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("convault", "convault-secret", None, None, "test"))
        .force_path_style(true)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(server.endpoint());
    (server, Client::from_conf(config.build()))
}

async fn put(client: &Client, key: &str, body: &'static [u8]) {
    client.put_object().bucket("acme").key(key).body(body.to_vec().into()).send().await.unwrap();
}

#[tokio::test]
async fn pages_go_on_where_they_ended_also_between_folders() {
    let (_server, client) = server().await;
    for key in ["a/1", "a/2", "b", "c/1", "c/2", "c-d", "e"] {
        put(&client, key, b"x").await;
    }
    let (mut seen, mut token) = (Vec::new(), None);
    loop {
        let page = client.list_objects_v2().bucket("acme").delimiter("/").max_keys(1);
        let page = page.set_continuation_token(token).send().await.unwrap();
        seen.extend(page.common_prefixes().iter().map(|folder| folder.prefix().unwrap().to_owned()));
        seen.extend(page.contents().iter().map(|object| object.key().unwrap().to_owned()));
        assert_eq!(page.key_count(), Some(1));
        token = page.next_continuation_token().map(str::to_owned);
        if token.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["a/", "b", "c-d", "c/", "e"]);
    let after = client.list_objects_v2().bucket("acme").start_after("c/1").send().await.unwrap();
    let after: Vec<_> = after.contents().iter().map(|object| object.key().unwrap()).collect();
    assert_eq!(after, ["c/2", "e"]);
}

#[tokio::test]
async fn keys_are_percent_encoded_where_that_is_asked_for() {
    let (_server, client) = server().await;
    put(&client, "a b/c+d%é", b"x").await;
    let listing = client.list_objects_v2().bucket("acme").prefix("a b/").encoding_type(EncodingType::Url);
    let listing = listing.send().await.unwrap();
    assert_eq!(listing.contents()[0].key(), Some("a%20b/c%2Bd%25%C3%A9"));
    assert_eq!(listing.prefix(), Some("a%20b/"));
}

#[tokio::test]
async fn several_objects_are_deleted_at_once_and_one_is_copied() {
    let (server, client) = server().await;
    for key in ["a", "b", "c"] {
        put(&client, key, b"bytes").await;
    }
    client.copy_object().bucket("other").key("copy").copy_source("acme/a").send().await.unwrap();
    let ids = ["a", "b", "never"].map(|key| ObjectIdentifier::builder().key(key).build().unwrap());
    let delete = Delete::builder().set_objects(Some(ids.to_vec())).build().unwrap();
    let deleted = client.delete_objects().bucket("acme").delete(delete).send().await.unwrap();
    assert_eq!(deleted.deleted().len(), 3);
    let left = client.list_objects_v2().bucket("acme").send().await.unwrap();
    assert_eq!(left.contents().iter().map(|object| object.key().unwrap()).collect::<Vec<_>>(), ["c"]);
    let copy = client.get_object().bucket("other").key("copy").send().await.unwrap();
    assert_eq!(copy.body.collect().await.unwrap().into_bytes(), "bytes");
    let counters = server.counters();
    let calls = ["PutObject", "CopyObject", "DeleteObjects", "ListObjectsV2", "GetObject", "HeadObject"];
    assert_eq!(calls.map(|call| counters.calls(call)), [3, 1, 1, 1, 1, 0]);
    assert!(counters.bytes_in >= 15 && counters.bytes_out >= 5);
}

#[tokio::test]
async fn parts_are_listed_and_a_completion_must_name_them_rightly() {
    let (_server, client) = server().await;
    let upload = client.create_multipart_upload().bucket("acme").key("big").send().await.unwrap();
    let upload_id = upload.upload_id().unwrap();
    let mut etags = Vec::new();
    for number in 1..=3 {
        let part = client.upload_part().bucket("acme").key("big").upload_id(upload_id).part_number(number);
        let part = part.body(vec![0; 5 << 20].into()).send().await.unwrap();
        etags.push(part.e_tag().unwrap().to_owned());
    }
    let listed = client.list_parts().bucket("acme").key("big").upload_id(upload_id).max_parts(2);
    let listed = listed.send().await.unwrap();
    assert_eq!((listed.parts().len(), listed.is_truncated()), (2, Some(true)));
    assert_eq!(listed.next_part_number_marker(), Some("2"));

    let complete = |parts: Vec<(i32, String)>| {
        let completed = parts
            .into_iter()
            .map(|(number, etag)| CompletedPart::builder().part_number(number).e_tag(etag).build());
        let completed = CompletedMultipartUpload::builder().set_parts(Some(completed.collect())).build();
        let request = client.complete_multipart_upload().bucket("acme").key("big").upload_id(upload_id);
        request.multipart_upload(completed).send()
    };
    let code = |error: aws_sdk_s3::Error| error.code().unwrap().to_owned();
    let refused = complete(vec![(1, etags[0].clone()), (2, "\"other\"".to_owned())]).await.unwrap_err();
    assert_eq!(code(refused.into()), "InvalidPart");
    let refused = complete(vec![(2, etags[1].clone()), (1, etags[0].clone())]).await.unwrap_err();
    assert_eq!(code(refused.into()), "InvalidPartOrder");
    complete((1..).zip(etags).collect()).await.unwrap();
    let head = client.head_object().bucket("acme").key("big").checksum_mode(ChecksumMode::Enabled);
    let head = head.send().await.unwrap();
    assert_eq!((head.content_length(), head.checksum_sha256()), (Some(15 << 20), None));
    assert!(head.e_tag().unwrap().ends_with("-3\""));
}

#[tokio::test]
async fn a_bucket_exists_from_its_first_use() {
    let (_server, client) = server().await;
    client.head_bucket().bucket("fresh").send().await.unwrap();
    client.create_bucket().bucket("fresh").send().await.unwrap();
    assert!(client.list_objects_v2().bucket("fresh").send().await.unwrap().contents().is_empty());
}

#[tokio::test]
async fn a_lock_is_bypassed_only_in_governance_and_only_on_request() {
    let (server, client) = server_like(|server| server.with_locks(None)).await;
    let modes = [ObjectLockRetentionMode::Governance, ObjectLockRetentionMode::Compliance];
    for (mode, may) in modes.into_iter().zip([true, false]) {
        put(&client, "a", b"bytes").await;
        let until = DateTime::from_secs(SystemClock.now().as_second() + 3600);
        let retention = ObjectLockRetention::builder().mode(mode).retain_until_date(until).build();
        client.put_object_retention().bucket("acme").key("a").retention(retention).send().await.unwrap();
        let head = client.head_object().bucket("acme").key("a").send().await.unwrap();
        let version = head.version_id().unwrap().to_owned();
        let delete = || client.delete_object().bucket("acme").key("a").version_id(&version);
        assert_eq!(delete().send().await.unwrap_err().code(), Some("AccessDenied"));
        assert_eq!(delete().bypass_governance_retention(true).send().await.is_ok(), may);
        let id = ObjectIdentifier::builder().key("a").version_id(&version).build().unwrap();
        let several = Delete::builder().objects(id).build().unwrap();
        let answer = client.delete_objects().bucket("acme").delete(several).send().await.unwrap();
        assert_eq!(answer.errors().len(), usize::from(!may), "{answer:?}");
    }
    assert_eq!(server.counters().calls("PutObjectRetention"), 2);
}

#[tokio::test]
async fn a_deletion_answers_as_amazon_does() {
    let (_server, client) = server_like(S3Server::with_versions).await;
    put(&client, "a", b"bytes").await;
    let marker = client.delete_object().bucket("acme").key("a").send().await.unwrap();
    assert_eq!(marker.delete_marker(), Some(true));
    let get = client.get_object().bucket("acme").key("a");
    assert_eq!(get.clone().send().await.unwrap_err().code(), Some("NoSuchKey"));
    let marker = marker.version_id().unwrap();
    assert_eq!(get.clone().version_id(marker).send().await.unwrap_err().code(), Some("MethodNotAllowed"));
    assert_eq!(get.version_id("never").send().await.unwrap_err().code(), Some("NoSuchVersion"));
}
