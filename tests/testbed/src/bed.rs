//! A whole bed: hub, members, object store.

use std::collections::HashSet;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;

use crate::address::{Address, port};
use crate::control_plane::ControlPlane;
use crate::folder;
use crate::info::{BedInfo, ClusterInfo, S3Info};
use crate::member::Member;
use crate::process::{Process, Program};
use crate::relay::Relay;
use crate::s3::{self, S3};
use crate::site::Site;
use crate::supervisor::Supervisor;
use crate::tools::Tools;
use crate::velero;

const HUB: &str = "hub";

/// What a bed is to consist of. A hub is always there.
#[derive(Debug, Clone)]
pub struct BedBuilder {
    name: String,
    dir: Option<PathBuf>,
    controllers: bool,
    members: Vec<(String, bool)>,
}

impl BedBuilder {
    /// Adds a member.
    #[must_use]
    pub fn member(mut self, name: &str) -> Self {
        self.members.push((name.to_owned(), false));
        self
    }

    /// Gives Velero to all members added so far, and an S3 server to the bed.
    #[must_use]
    pub fn velero(mut self) -> Self {
        for (_, velero) in &mut self.members {
            *velero = true;
        }
        self
    }

    /// Leaves out the hub's kube-controller-manager: nothing is garbage-collected there, and a
    /// deleted namespace stays.
    #[must_use]
    pub fn hub_without_controllers(mut self) -> Self {
        self.controllers = false;
        self
    }

    /// Where logs and kubeconfigs go, instead of `target/testbed/<name>-<pid>-<n>`.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Starts everything, the clusters at the same time, and returns when all of it is ready.
    pub async fn start(self) -> Result<Bed> {
        // Two providers may be linked into a test; someone has to choose, once.
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        self.check_members()?;
        let dir = match self.dir {
            Some(dir) => dir,
            None => folder::for_run(&self.name)?,
        };
        let dir = std::path::absolute(&dir).context("cannot find the working directory")?;
        let names = self.members.iter().map(|(name, _)| name.as_str());
        let claim = folder::claim(&dir, names.chain([HUB, s3::FOLDER]))?;
        let address = Address::take()?;
        let site = Site {
            tools: Tools::find(),
            supervisor: Arc::new(Supervisor::start(&address)?),
            ip: address.ip,
            dir,
            scratch: address.scratch.clone(),
        };
        let store = if self.members.iter().any(|(_, velero)| *velero) {
            Some(S3::start(&site).await?)
        } else {
            None
        };
        let hub = ControlPlane::start(&site, HUB, 0, self.controllers);
        let members = self.members.iter().enumerate().map(|(index, member)| {
            let (name, velero) = member;
            Member::start(&site, name, index + 1, store.as_ref().filter(|_| *velero))
        });
        let (hub, members) = tokio::try_join!(hub, try_join_all(members))?;
        Ok(Bed {
            hub,
            members,
            s3: store,
            site,
            next_port: AtomicU16::new(port::SERVICES.start),
            _address: address,
            _claim: claim,
        })
    }

    /// Names are folders of the run, so none may occur twice.
    fn check_members(&self) -> Result<()> {
        let most = port::MAX_MEMBERS;
        ensure!(self.members.len() <= most, "more than {most} members");
        let mut seen = HashSet::from([HUB, s3::FOLDER]);
        for (name, _) in &self.members {
            ensure!(seen.insert(name), "the name {name} is taken in the bed");
        }
        Ok(())
    }
}

/// A running bed. Dropping it, or the end of our process, ends all of it.
#[derive(Debug)]
pub struct Bed {
    hub: ControlPlane,
    members: Vec<Member>,
    s3: Option<S3>,
    site: Site,
    next_port: AtomicU16,
    // After the processes: the address is given back last.
    _address: Address,
    _claim: File,
}

impl Bed {
    /// A bed called `name`, which shows in the path of its logs.
    pub fn builder(name: &str) -> BedBuilder {
        BedBuilder {
            name: name.to_owned(),
            dir: None,
            controllers: true,
            members: Vec::new(),
        }
    }

    /// The hub.
    pub fn hub(&self) -> &ControlPlane {
        &self.hub
    }

    /// All members in the order in which they were asked for.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The member called `name`.
    pub fn member(&self, name: &str) -> Result<&Member> {
        let found = self.members.iter().find(|member| member.name() == name);
        found.with_context(|| format!("the bed has no member {name}"))
    }

    /// The object store; an error if no member has Velero.
    pub fn s3(&self) -> Result<&S3> {
        self.s3.as_ref().context("the bed was built without Velero")
    }

    /// The bed's own loopback address; everything of the bed listens on it.
    pub fn address(&self) -> Ipv4Addr {
        self.site.ip
    }

    /// One more way to a member's API server, for who wants to cut it without cutting off others.
    pub fn relay_to(&self, member: &Member) -> Result<Relay> {
        Relay::start(self.site.ip, self.next_port(), member.upstream())
    }

    /// A way to the object storage, for who wants to cut it.
    pub fn relay_to_s3(&self) -> Result<Relay> {
        let upstream = SocketAddr::from((self.site.ip, port::S3));
        Relay::start(self.site.ip, self.next_port(), upstream)
    }

    /// A port on the bed's address that nobody else uses.
    pub fn next_port(&self) -> u16 {
        let used = self.next_port.fetch_add(1, Ordering::Relaxed) - port::SERVICES.start;
        port::SERVICES.start + used % (port::SERVICES.end - port::SERVICES.start)
    }

    /// Logs and kubeconfigs of this run.
    pub fn dir(&self) -> &Path {
        &self.site.dir
    }

    /// The programs of the bed, kubectl among them.
    pub fn tools(&self) -> &Tools {
        &self.site.tools
    }

    /// Starts a program of ours, which ends with the bed at the latest.
    pub fn spawn(&self, program: Program) -> Result<Process> {
        self.site.spawn(program)
    }

    /// Writes every kubeconfig and `bed.json` into [`Bed::dir`] for scripts, and gives its content.
    pub fn write_info(&self) -> Result<BedInfo> {
        let info = BedInfo {
            address: self.site.ip.to_string(),
            dir: self.site.dir.clone(),
            free_port: port::SERVICES.start,
            hub: cluster_info(&self.hub),
            members: self
                .members
                .iter()
                .map(|member| self.member_info(member))
                .collect::<Result<_>>()?,
            s3: self.s3.as_ref().map(s3_info),
        };
        let text = serde_json::to_string_pretty(&info).context("cannot write bed.json")?;
        folder::write_private(&self.site.dir.join("bed.json"), &(text + "\n"))?;
        Ok(info)
    }

    /// Ends everything and returns when it is gone.
    pub async fn stop(self) -> Result<()> {
        let members = try_join_all(self.members.iter().map(Member::stop));
        tokio::try_join!(members, self.hub.stop())?;
        match &self.s3 {
            Some(s3) => s3.stop().await,
            None => Ok(()),
        }
    }

    fn member_info(&self, member: &Member) -> Result<ClusterInfo> {
        let relayed = self
            .site
            .dir
            .join(format!("{}.relayed.kubeconfig", member.name()));
        folder::write_private(&relayed, &member.relayed_kubeconfig())?;
        Ok(ClusterInfo {
            relayed_kubeconfig: Some(relayed),
            velero_prefix: member
                .velero()
                .ok()
                .map(|velero| velero.prefix().to_owned()),
            ..cluster_info(member.control_plane())
        })
    }
}

fn cluster_info(cluster: &ControlPlane) -> ClusterInfo {
    ClusterInfo {
        name: cluster.name().to_owned(),
        url: cluster.url().to_owned(),
        kubeconfig: cluster.kubeconfig_path().to_owned(),
        relayed_kubeconfig: None,
        velero_prefix: None,
    }
}

fn s3_info(s3: &S3) -> S3Info {
    S3Info {
        endpoint: s3.endpoint(),
        region: S3::REGION.to_owned(),
        access_key: S3::ACCESS_KEY.to_owned(),
        secret_key: S3::SECRET_KEY.to_owned(),
        bucket: velero::BUCKET.to_owned(),
        data: s3.data().to_owned(),
    }
}
