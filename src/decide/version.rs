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

/// What serves when nothing is remembered. The template of a paused Deployment may be one that nobody has rolled out: then
/// it is what most of its pods run.
pub(crate) fn serving(spec: &ReleaseSpec, workload: &Workload) -> Version {
    match workload.serving() {
        Some(set) if workload.held() && workload.paused => {
            Version { revision: set.revision.clone(), name: by_image(&set.images), images: set.images.clone() }
        }
        _ => present(spec, workload),
    }
}

/// What is asked for, to replace `stable`. Of a held Deployment that is its template; where only something else than an
/// image was changed in it, the revision tells the two apart.
pub(crate) fn asked(spec: &ReleaseSpec, workload: &Workload, stable: &Version) -> Version {
    let asked = &workload.asked;
    let by_template = || {
        let name = by_image(&asked.images)?;
        let same = asked.images == stable.images && asked.revision != stable.revision;
        Some(if same { format!("{name} ({})", asked.revision) } else { name })
    };
    let name = if workload.held() { by_template() } else { spec.version.clone() };
    Version { revision: asked.revision.clone(), name, images: asked.images.clone() }
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
