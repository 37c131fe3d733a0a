//! The settings of a link.

use std::path::PathBuf;

use super::claims::Claims;
use super::counts::LinkCounts;
use super::timings::LinkTimings;
use crate::http_client::HttpClient;
use caduceus_contract::link::LinkId;
use caduceus_contract::profile_name::ProfileName;

/// The arguments of a link.
#[derive(Debug, Clone)]
pub struct LinkSettings {
    /// Its id.
    pub link: LinkId,
    /// The profile that owns it, for a link of a profile's own.
    pub owner: Option<ProfileName>,
    /// The profile whose settings it dials with.
    pub profile: ProfileName,
    /// Which link serves which gateway.
    pub claims: Claims,
    /// Its timeouts and intervals.
    pub timings: LinkTimings,
    /// The client for its connection and its calls.
    pub client: HttpClient,
    /// The folder for media that the connector hosts.
    pub media: PathBuf,
    /// Its counters; they outlive the actor.
    pub counts: LinkCounts,
}
