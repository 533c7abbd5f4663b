//! The golden files are what an API server stores: it takes them under today's definition, and gives back the same.

use std::{fs, path::Path};

use haldane::api::{Release, status::FORMAT_VERSION};
use kube::api::DynamicObject;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, PostParams},
    core::ApiResource,
};
use serde_json::Value;

use crate::harness;

#[tokio::test]
async fn the_api_server_stores_the_golden_files_as_they_are() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    let kind = ApiResource::erase::<Release>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(plane.client(), &ns, &kind);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/format-{FORMAT_VERSION}"));
    let files: Vec<_> =
        fs::read_dir(folder).expect("the golden files").map(|entry| entry.expect("a file").path()).collect();
    assert!(files.len() > 10, "{files:?}");
    for file in files {
        let name = file.display();
        let golden: Value = serde_json::from_str(&fs::read_to_string(&file).expect("text")).expect("JSON");
        let mut object: DynamicObject = serde_json::from_value(golden.clone()).expect("an object");
        object.metadata.namespace = Some(ns.clone());
        object.metadata.uid = None;
        let post = PostParams::default();
        let created = api.create(&post, &object).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        object.metadata = created.metadata;
        api.replace_status(&object.name_any(), &post, &object).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        let stored = api.get(&object.name_any()).await.expect("the Release");
        for part in ["spec", "status"] {
            assert_eq!(stored.data[part], golden[part], "{name}: {part}");
        }
        api.delete(&object.name_any(), &DeleteParams::default()).await.expect("deleted");
    }
}
