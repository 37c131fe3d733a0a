//! The times of the relay link, where a network needs others than ours.

use std::time::Duration;

use super::yaml::Section;
use crate::relay::timings::LinkTimings;
use caduceus_supervision::Backoff;

/// Reads the times out of the `relay` section.
pub(super) fn read(section: &mut Section<'_>) -> LinkTimings {
    let default = LinkTimings::default();
    let mut time = |key, otherwise: Duration| match section.seconds(key) {
        Some(Duration::ZERO) => section.wrong(key, "more than 0").unwrap_or(otherwise),
        given => given.unwrap_or(otherwise),
    };
    let ping = time("ping_s", default.ping);
    let silence = time("silence_s", default.silence);
    let dial = time("dial_s", default.dial);
    let handshake = time("handshake_s", default.handshake);
    let result = time("result_s", default.result);
    if silence <= ping {
        section.wrong::<()>("silence_s", "more than ping_s");
    }
    let floor = section.millis("redial_floor_ms").unwrap_or(default.redial.floor());
    let ceiling = section.millis("redial_ceiling_ms").unwrap_or(default.redial.ceiling().max(floor));
    let redial = Backoff::new(floor, ceiling).ok();
    if redial.is_none() {
        section.wrong::<()>("redial_floor_ms", "no more than redial_ceiling_ms");
    }
    LinkTimings { ping, silence, dial, handshake, result, redial: redial.unwrap_or(default.redial), ..default }
}
