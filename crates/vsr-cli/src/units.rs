//! Durations and sizes as people write them: a number and its unit.

use std::time::Duration;

/// The longest duration that is taken: a year. Longer ones are typing errors, and adding them to
/// the clock could overflow.
const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Reads `250ms`, `5s`, `1.5s`, `2m`, `1h`.
///
/// # Errors
/// Says how a duration is written.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text)
        .ok_or_else(|| format!("`{text}` is not a duration: write 250ms, 5s, 2m or 1h"))?;
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "" => return Err(format!("`{text}` lacks a unit: write {text}s or {text}ms")),
        _ => return Err(format!("`{unit}` is not a unit of time: use us, ms, s, m or h")),
    };
    let duration = Duration::try_from_secs_f64(number * seconds)
        .map_err(|_| format!("`{text}` is too long"))?;
    if duration > DURATION_MAX {
        return Err(format!("`{text}` is longer than a year"));
    }
    Ok(duration)
}

/// Reads `256`, `64KiB`, `1MiB`, `10kB`.
///
/// # Errors
/// Says how a size is written.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    let (number, unit) =
        split(text).ok_or_else(|| format!("`{text}` is not a size: write 256, 64KiB or 1MiB"))?;
    let bytes = match unit {
        "" | "B" => 1.0,
        "kB" => 1e3,
        "KiB" => 1024.0,
        "MB" => 1e6,
        "MiB" => 1024.0 * 1024.0,
        _ => return Err(format!("`{unit}` is not a unit of size: use B, kB, KiB, MB or MiB")),
    };
    let total = number * bytes;
    if total.fract() != 0.0 || total > f64::from(u32::MAX) {
        return Err(format!("`{text}` is not a whole number of bytes below 4 GiB"));
    }
    Ok(total as usize)
}

/// A duration for people: three digits are enough.
pub(crate) fn show(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 1e-3 {
        format!("{} us", duration.as_micros())
    } else if seconds < 1e-2 {
        format!("{:.1} ms", seconds * 1e3)
    } else if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1e3)
    } else if seconds < 100.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{seconds:.0} s")
    }
}

/// The number at the beginning and what follows it.
fn split(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number = text[..end].parse().ok()?;
    Some((number, text[end..].trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_their_unit_and_are_finite() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "5", "s", "5 parsecs", "-1s", "1e9h", "99999999999999h", ".s", "1..2s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_whole_bytes() {
        assert_eq!(size("256"), Ok(256));
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("1.5KiB"), Ok(1536));
        for wrong in ["", "KiB", "1.5", "-1", "5GiB", "4096MiB", "1 qubit"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
