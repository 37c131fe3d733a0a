//! Profiles whose settings name one gateway, as `doctor` and `secrets audit` report it. Pure.

use caduceus_actors::relay::claims::MAX_LINKS;
use caduceus_actors::relay::gateway_key::GatewayKey;

use super::finding::Finding;

/// A finding for each profile that gets no separate link although its settings request one. The profiles come in the order of
/// their claims: that of the gateway's own home first, then by name.
pub(super) fn shared<'a>(profiles: impl IntoIterator<Item = (&'a str, Option<&'a GatewayKey>)>) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut links: Vec<(&str, &GatewayKey)> = Vec::new();
    let mut own = 0;
    for (number, (name, gateway)) in profiles.into_iter().enumerate() {
        let Some(gateway) = gateway else { continue };
        own += usize::from(number > 0);
        if let Some((first, _)) = links.iter().find(|(_, theirs)| *theirs == gateway) {
            let detail = format!(
                "its GATEWAY_RELAY_ID names the gateway that profile {first} already serves at the same connector; it gets no link of its own"
            );
            let remedy =
                "enroll it as a gateway of its own, or take GATEWAY_RELAY_ID and GATEWAY_RELAY_SECRET out of its .env";
            found.push(Finding::error("shared_gateway", detail, remedy).of(name));
        } else if own >= MAX_LINKS {
            let detail = format!("a process has {MAX_LINKS} links at most; this profile gets none of its own");
            let remedy = "serve it by a second gateway, or over the link of the gateway itself";
            found.push(Finding::error("too_many_links", detail, remedy).of(name));
        } else {
            links.push((name, gateway));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(profiles: &[(&str, Option<&str>)]) -> Vec<(String, &'static str)> {
        let keys: Vec<_> =
            profiles.iter().map(|(name, id)| (*name, id.map(|id| GatewayKey::new("wss://c.example", id)))).collect();
        let found = shared(keys.iter().map(|(name, key)| (*name, key.as_ref())));
        found.into_iter().map(|finding| (finding.profile.unwrap(), finding.code)).collect()
    }

    #[test]
    fn the_second_profile_with_a_gateway_is_named_and_the_first_is_not() {
        assert_eq!(codes(&[("default", Some("a")), ("b", Some("b")), ("c", None), ("d", None)]), []);
        let clones = [("default", Some("gw")), ("one", Some(" GW ")), ("two", Some("own")), ("zwo", Some("own"))];
        assert_eq!(codes(&clones), [("one".to_owned(), "shared_gateway"), ("zwo".to_owned(), "shared_gateway")]);
    }

    #[test]
    fn profiles_beyond_the_last_link_are_named() {
        let names: Vec<String> = (0..=MAX_LINKS).map(|n| format!("p{n:04}")).collect();
        for own in [true, false] {
            let profiles: Vec<_> = names
                .iter()
                .enumerate()
                .map(|(n, name)| (name.as_str(), (n > 0 || own).then_some(name.as_str())))
                .collect();
            let last = (names[MAX_LINKS].clone(), "too_many_links");
            assert_eq!(
                codes(&profiles),
                [last],
                "the link of the gateway itself counts, whether it has settings or not"
            );
        }
    }
}
