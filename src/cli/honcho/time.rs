//! Lengths of time, for people.

/// A length of time for people, rounded down.
pub(super) fn approximate(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_shown_in_a_fitting_unit() {
        let shown: Vec<String> = [0, 119, 120, 7_199, 7_200, 172_800].map(approximate).into();
        assert_eq!(shown, ["0 s", "119 s", "2 min", "119 min", "2 h", "2 days"]);
    }
}
