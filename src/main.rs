use kube::CustomResourceExt;
fn main() {
    print!("{}", serde_yaml_ng::to_string(&haldane::api::Release::crd()).unwrap());
}
