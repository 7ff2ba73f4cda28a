//! Looking at many workers.

use crate::setup::{soon, start};
use manyhands_protocol::WorkerId;
use manyhands_protocol::message::ToCoordinator;

#[tokio::test]
async fn workers_are_listed_in_pages_in_the_order_in_which_they_joined() {
    let running = start().await;
    let mut crew = Vec::new();
    for _ in 0..5 {
        crew.push(running.worker().await);
    }
    let ids: Vec<WorkerId> = crew.iter().map(|worker| worker.id).collect();
    let page = async |after, limit| {
        let page = running.client.workers(after, limit).await.unwrap();
        let ids: Vec<WorkerId> = page.workers.iter().map(|worker| worker.id).collect();
        (ids, page.next)
    };
    assert_eq!(page(None, 2).await, (ids[..2].to_vec(), Some(ids[1])));
    assert_eq!(
        page(Some(ids[1]), 2).await,
        (ids[2..4].to_vec(), Some(ids[3]))
    );
    assert_eq!(page(Some(ids[3]), 2).await, (ids[4..].to_vec(), None));
    assert_eq!(page(None, 5).await, (ids.clone(), None));
    assert_eq!(page(Some(ids[4]), 5).await, (Vec::new(), None));
    running.close().await;
}

#[tokio::test]
async fn one_worker_is_shown_until_it_leaves() {
    let running = start().await;
    let mut worker = running.worker().await;
    let shown = running.client.worker(worker.id).await.unwrap();
    assert_eq!((shown.id, shown.connected), (worker.id, true));
    worker.socket.send(&ToCoordinator::Goodbye).await;
    let gone = async {
        loop {
            if let Err(error) = running.client.worker(worker.id).await {
                return error.to_string();
            }
        }
    };
    let gone = soon("that it left", gone).await;
    let says = format!(
        "there is no worker {} (any more); `manyhands workers` lists them",
        worker.id
    );
    assert_eq!(gone, says);
    let odd = reqwest::get(running.http("/api/v1/workers/first")).await;
    assert_eq!(odd.unwrap().status(), 404);
    running.close().await;
}
