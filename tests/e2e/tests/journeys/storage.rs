//! The object storage of a fleet, set up on members whose Velero was installed beforehand. These tests
//! change the location `default`, so they have a bed of their own, and take turns with it.

mod bed;
mod collisions;
mod credentials;
mod giving_up;
mod layouts;
mod lost;
mod ownership;
mod shared;
