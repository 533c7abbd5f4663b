//! A Release is deleted at the very moment in which its finalizer is being added. The API server may answer the patch and
//! delete the Release all the same; then nothing may have been touched, for nobody would put it back.

use futures::{StreamExt, stream};

use crate::stage::{STAYS, Stage, Theatre};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_is_deleted_while_it_begins_leaves_nothing_behind() {
    let theatre = Theatre::open().await;
    let all = stream::iter(0..24).map(async |_| {
        let stage = Stage::open(&theatre).await.expect("a stage");
        stage.wish(STAYS).await;
        stage.until("it begins", |status| status.phase == "Preparing").await.expect("it begins");
        stage.delete().await;
        stage.gone().await.expect("it goes");
        // Time for the write that would be too late.
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        let ledger = theatre.auditor.close(&stage.ns, stage.revision().await);
        assert!(ledger.breaches.is_empty(), "{}: {:?}", stage.ns, ledger.breaches);
        let deployment = ledger.world().get("deployments", "shop").expect("the Deployment");
        assert_ne!(deployment["spec"]["paused"], true, "{}: left paused", stage.ns);
    });
    all.buffer_unordered(12).collect::<Vec<()>>().await;
}
