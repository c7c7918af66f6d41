//! The test bed itself, with everything real.

use std::time::{Duration, Instant};

use testbed::Bed;

#[tokio::test]
async fn a_bare_bed_starts() {
    let started = Instant::now();
    let bed = Bed::builder("bare")
        .member("m1")
        .velero()
        .start()
        .await
        .unwrap();
    eprintln!("up after {:?}", started.elapsed());
    println!("{:?}", bed.write_info().unwrap());
    let client = bed.hub().client().unwrap();
    let version = client.apiserver_version().await.unwrap();
    println!("{version:?}");
    let started = Instant::now();
    bed.stop().await.unwrap();
    eprintln!("down after {:?}", started.elapsed());
    let _ = Duration::ZERO;
}
