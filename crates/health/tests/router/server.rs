//! The server on a real socket.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use convault_core::{
    Control, ControlError, DestinationResult, MarkWish, RunEvent, RunId, RunRecord, StartRequest, Status,
};
use convault_health::{Health, HealthSettings};
use futures::stream::BoxStream;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time,
};
use tokio_util::sync::CancellationToken;

use crate::fake::{RUN, status};

/// Answers nothing but a status, and events that never come.
#[derive(Debug)]
struct Quiet;

#[async_trait]
impl Control for Quiet {
    fn status(&self) -> Status {
        status()
    }

    async fn runs(&self, _: usize) -> Result<Vec<RunRecord>, ControlError> {
        Ok(vec![])
    }

    async fn start(&self, _: StartRequest) -> Result<RunId, ControlError> {
        Err(ControlError::Stopping)
    }

    async fn mark(&self, _: MarkWish) -> Result<Vec<DestinationResult>, ControlError> {
        Err(ControlError::Stopping)
    }

    async fn cancel(&self, run: &RunId) -> Result<(), ControlError> {
        Err(ControlError::NoSuchRun(run.clone()))
    }

    fn watch(&self, _: &RunId, _: u64) -> Result<BoxStream<'static, (u64, RunEvent)>, ControlError> {
        Ok(Box::pin(futures::stream::pending()))
    }
}

async fn bind() -> Health {
    let settings = HealthSettings { listen: "127.0.0.1:0".parse().unwrap(), token: None };
    Health::bind(settings, Arc::new(Quiet)).await.unwrap()
}

#[tokio::test]
async fn it_answers_on_its_socket_and_ends_although_somebody_listens_to_events() {
    let health = bind().await;
    let address = health.local_addr();
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(health.serve(stop.clone()));
    let mut scrape = TcpStream::connect(address).await.unwrap();
    scrape.write_all(b"GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    scrape.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK") && text.ends_with("live\n"), "{text}");
    let mut listener = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /api/v1/runs/{RUN}/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    listener.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    listener.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    stop.cancel();
    let ended = time::timeout(Duration::from_secs(4), tasks.join_next()).await;
    ended.expect("it ends at once").unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn an_address_in_use_is_an_error_that_names_it() {
    let first = bind().await;
    let settings = HealthSettings { listen: first.local_addr(), token: None };
    let error = Health::bind(settings, Arc::new(Quiet)).await.unwrap_err();
    assert!(error.to_string().contains(&first.local_addr().to_string()), "{error}");
}
