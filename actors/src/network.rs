//! A network of addresses, as in `http.trusted_proxies` and `NO_PROXY`.

use std::net::IpAddr;
use std::str::FromStr;

/// All addresses with the same first bits; a single address is a network of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    first: u128,
    bits: u32,
    v4: bool,
}

/// This is neither an address nor a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is neither an address nor a network such as 10.0.0.0/8")]
pub struct NotANetwork;

impl Network {
    /// Whether `address` is in it; an IPv4 address in IPv6 form counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let (value, width) = value(address.to_canonical());
        (width == 32) == self.v4 && prefix(value, width, self.bits) == self.first
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().map_err(|_| NotANetwork)?)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_| NotANetwork)?;
        let (value, width) = value(address);
        let bits = bits.unwrap_or(width);
        if bits > width {
            return Err(NotANetwork);
        }
        Ok(Self { first: prefix(value, width, bits), bits, v4: address.is_ipv4() })
    }
}

fn value(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (address.to_bits().into(), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

/// The first `bits` of a value that is `width` bits wide.
fn prefix(value: u128, width: u32, bits: u32) -> u128 {
    value.checked_shr(width - bits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(network: &str, address: &str) -> bool {
        network.parse::<Network>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn a_network_contains_exactly_the_addresses_with_its_prefix() {
        for (network, inside) in
            [("10.0.0.0/8", "10.255.1.2"), ("10.9.9.9/8", "10.1.1.1"), ("127.0.0.1", "127.0.0.1"), ("::1", "::1")]
        {
            assert!(holds(network, inside), "{network} {inside}");
        }
        assert!(
            holds("0.0.0.0/0", "203.0.113.9") && holds("::/0", "2001:db8::1") && holds("10.0.0.0/8", "::ffff:10.1.1.1")
        );
        for (network, outside) in
            [("10.0.0.0/8", "11.0.0.0"), ("127.0.0.1", "127.0.0.2"), ("0.0.0.0/0", "::1"), ("::/0", "127.0.0.1")]
        {
            assert!(!holds(network, outside), "{network} {outside}");
        }
    }

    #[test]
    fn an_invalid_network_is_refused() {
        for text in ["", "localhost", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "::/129", "10.0.0/8", "*"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
