//! The web chat's own routes.
