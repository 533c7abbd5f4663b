//! What a version is called.

use std::collections::BTreeMap;

use crate::{
    api::{release::ReleaseSpec, state::Version},
    observe::seen::Workload,
};

/// What the Deployment's template says now, with the Release's name for it where it is the asked one.
pub(crate) fn present(spec: &ReleaseSpec, workload: &Workload) -> Version {
    let asked = workload.asked.revision == workload.revision;
    Version {
        revision: workload.revision.clone(),
        name: spec.version.clone().filter(|_| asked).or_else(|| by_image(&workload.images)),
        images: workload.images.clone(),
    }
}

/// What a version nobody has named is called: its image's last part, if it has one image. `shop/checkout:1.4` is
/// `checkout:1.4`; of a digest the first twelve digits are enough.
fn by_image(images: &BTreeMap<String, String>) -> Option<String> {
    let image = images.values().next().filter(|_| images.len() == 1)?;
    let last = image.rsplit('/').next().unwrap_or(image);
    Some(match last.split_once("@sha256:") {
        Some((name, digest)) => format!("{name}@{}", digest.get(..12).unwrap_or(digest)),
        None => last.to_owned(),
    })
}
