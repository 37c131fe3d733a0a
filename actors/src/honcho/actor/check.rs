//! The check of the files: at start, at every file event, after every refresh, and at each poll.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use futures_util::future::join_all;

use super::{CheckState, HonchoProfile, HonchoRefreshActor};
use crate::files::events::RECHECK_EVERY;
use crate::files::workers::Owner;
use crate::files::{FileWorker, Purpose};
use crate::honcho::plan::FileReading;
use crate::honcho::profile_check::{ProfileCheck, ProfileReading, check_profile, redacted_as, unanswered};

/// Timeout of a check of one profile's files.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

impl HonchoRefreshActor {
    /// Checks the files, or once more after a check that is running.
    pub(super) fn check(&mut self, ctx: &mut Context<Self>) {
        if self.checking != CheckState::Idle {
            self.checking = CheckState::Again;
            return;
        }
        let profiles = self.settings.profiles.clone();
        self.check_profiles(profiles, ctx);
    }

    /// Checks what may change without an event: files with a grant or that cannot be read, and directories that did not exist.
    /// Rarely, all.
    pub(super) fn poll(&mut self, ctx: &mut Context<Self>) {
        if self.checking != CheckState::Idle {
            return;
        }
        if self.checked_at.elapsed() >= RECHECK_EVERY {
            return self.check(ctx);
        }
        let checked = self.settings.profiles.iter().filter(|profile| !self.without_grant.contains(&profile.name));
        let checked: Vec<_> = checked.cloned().collect();
        if !checked.is_empty() {
            self.check_profiles(checked, ctx);
        }
        let missing = self.watch.missing().iter().cloned().map(|directory| {
            let worker = FileWorker::of(&directory, Purpose::Grant, Owner::Profile);
            async move { worker.run(CHECK_TIMEOUT, move || directory.is_dir()).await == Ok(true) }
        });
        let appeared = join_all(missing.collect::<Vec<_>>()).into_actor(self);
        ctx.spawn(appeared.map(|appeared, actor, ctx| {
            if appeared.contains(&true) {
                actor.check(ctx);
            }
        }));
    }

    fn check_profiles(&mut self, profiles: Vec<HonchoProfile>, ctx: &mut Context<Self>) {
        self.checking = CheckState::Running;
        if profiles.len() == self.settings.profiles.len() {
            self.checked_at = Instant::now();
        }
        let retry_wait = self.settings.timeouts.retry_wait;
        let before = (self.started, self.ended);
        let checks = profiles.into_iter().map(|profile| {
            // Each on a separate thread: a profile whose disk hangs delays no other for longer than this.
            let worker = FileWorker::of(&profile.homes.own, Purpose::Grant, Owner::Profile);
            let known = self.grants.place(&profile.name).cloned();
            let redactor = self.settings.context.redactor.clone();
            async move {
                let checked = profile.clone();
                match worker.run(CHECK_TIMEOUT, move || check_profile(&checked, retry_wait, &redactor)).await {
                    Ok(check) => check,
                    Err(error) => {
                        let reading = unanswered(&profile, known.as_ref(), error.to_string());
                        ProfileCheck { reading, places: Vec::new() }
                    }
                }
            }
        });
        let checks: Vec<_> = checks.collect();
        ctx.spawn(join_all(checks).into_actor(self).map(move |checked, actor, ctx| {
            let again = std::mem::replace(&mut actor.checking, CheckState::Idle) == CheckState::Again;
            let mut readings = Vec::with_capacity(checked.len());
            for ProfileCheck { reading, places } in checked {
                for place in &places {
                    actor.watch.add(place);
                }
                readings.push(reading);
            }
            actor.apply(readings, before);
            if again | actor.refreshed_since(before) {
                actor.check(ctx);
            }
        }));
    }

    /// Whether a refresh began or ended since; what was seen meanwhile may be outdated.
    fn refreshed_since(&self, before: (u64, u64)) -> bool {
        before != (self.started, self.ended)
    }

    fn apply(&mut self, readings: Vec<ProfileReading>, before: (u64, u64)) {
        let overlapped = self.refreshed_since(before);
        let now = self.now();
        let waits = self.waits();
        let served: BTreeSet<_> = self.settings.profiles.iter().map(|served| served.name.clone()).collect();
        for ProfileReading { profile, place, seen } in readings {
            if matches!(seen, FileReading::NoGrant) {
                self.without_grant.insert(profile.clone());
            } else {
                self.without_grant.remove(&profile);
            }
            self.grants.seen(&place, seen, overlapped, waits, now);
            // The profile may have been removed while its file was checked.
            if served.contains(&profile) {
                self.grants.locate(profile, place);
            } else {
                self.settings.context.redactor.remove(&redacted_as(&profile));
            }
        }
        self.grants.remove_unused();
        if !self.checked {
            self.checked = true;
            self.incarnation.ready();
            // A refresh that is due need not wait for the tick.
            self.tick();
        }
        self.early.clear();
        self.publish();
    }
}
