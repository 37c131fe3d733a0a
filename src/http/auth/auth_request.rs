//! The part of a request that authentication reads.

use std::net::IpAddr;

use actix_web::HttpRequest;
use actix_web::http::header::{AUTHORIZATION, HeaderMap};

use crate::http::caller::HttpCaller;

/// The credential of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum RequestCredential<'a> {
    /// No `Authorization`.
    None,
    /// Two of them, or one that is not a bearer token.
    Unreadable,
    /// A token, not verified yet.
    Bearer(&'a str),
}

/// The part of a request that authentication reads.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct AuthRequest<'a> {
    pub(in crate::http) credential: RequestCredential<'a>,
    pub(in crate::http) path: &'a str,
    pub(in crate::http) peer: IpAddr,
    /// Whether it comes from this machine.
    pub(in crate::http) loopback: bool,
    /// The scope that the route requires, if it requires one.
    pub(in crate::http) scope: Option<RequiredScope>,
}

/// A scope that a route requires, and how a client may have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum RequiredScope {
    /// By a token, or by `--insecure-loopback-drain`.
    ByTokenOrFlag(&'static str),
    /// By a token only.
    ByToken(&'static str),
}

impl RequiredScope {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ByTokenOrFlag(name) | Self::ByToken(name) => name,
        }
    }
}

impl<'a> AuthRequest<'a> {
    pub(super) fn new(request: &'a HttpRequest, scope: Option<RequiredScope>) -> Self {
        let HttpCaller { address, loopback } = HttpCaller::of(request);
        Self {
            credential: RequestCredential::of(request.headers()),
            path: request.path(),
            peer: address,
            loopback,
            scope,
        }
    }
}

impl<'a> RequestCredential<'a> {
    fn of(headers: &'a HeaderMap) -> Self {
        let mut values = headers.get_all(AUTHORIZATION);
        let (Some(value), second) = (values.next(), values.next()) else { return Self::None };
        // A secret may be of any characters, and a header is of bytes.
        let text = std::str::from_utf8(value.as_bytes()).ok().filter(|_| second.is_none());
        match text.and_then(|text| text.trim().split_once(' ')) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() => {
                Self::Bearer(token.trim())
            }
            _ => Self::Unreadable,
        }
    }
}
