//! Dates as C writes them, in English, from seconds: a runtime without clock or locale gives the same prompt everywhere.

use std::fmt::Write as _;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Year, month from 1, day from 1, of a day counted from 1970-01-01 (the usual era arithmetic on 400-year cycles).
fn civil(days: i64) -> (i64, usize, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month as usize, day)
}

/// Year and number of the week that a day is in by ISO 8601: those of its Thursday.
fn iso_week(days: i64) -> (i64, i64) {
    let thursday = days - (days + 3).rem_euclid(7) + 3;
    let (year, ..) = civil(thursday);
    let before = (0..366).find(|back| civil(thursday - back) == (year, 1, 1)).unwrap_or(0);
    (year, before / 7 + 1)
}

/// Formats local time given as seconds since 1970-01-01 00:00. Unknown fields stay as they are.
pub(super) fn strftime(pattern: &str, now: i64) -> String {
    // Ten thousand years around 1970 keep the arithmetic far from overflow.
    let now = now.clamp(-315_569_520_000, 315_569_520_000);
    let (days, second) = (now.div_euclid(86_400), now.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let weekday = (days + 4).rem_euclid(7) as usize;
    let (month_name, day_name) = (MONTHS[(month - 1) % 12], DAYS[weekday]);
    let first_day = (0..366).find(|back| civil(days - back) == (year, 1, 1)).unwrap_or(0);
    let hour12 = if hour % 12 == 0 { 12 } else { hour % 12 };
    let mut out = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let Some(mut field) = chars.next() else {
            out.push('%');
            break;
        };
        let plain = field == '-';
        if plain {
            field = match chars.next() {
                Some(f) => f,
                None => {
                    out.push_str("%-");
                    break;
                }
            };
        }
        let mut two = |value: i64| if plain { write!(out, "{value}") } else { write!(out, "{value:02}") };
        let _ = match field {
            'Y' => write!(out, "{year}"),
            'y' => two(year.rem_euclid(100)),
            'm' => two(month as i64),
            'd' => two(day),
            'e' => write!(out, "{day:2}"),
            'H' => two(hour),
            'I' => two(hour12),
            'M' => two(minute),
            'S' => two(second),
            'j' if plain => write!(out, "{}", first_day + 1),
            'j' => write!(out, "{:03}", first_day + 1),
            'B' => write!(out, "{month_name}"),
            'b' | 'h' => write!(out, "{}", &month_name[..3]),
            'A' => write!(out, "{day_name}"),
            'a' => write!(out, "{}", &day_name[..3]),
            'p' => write!(out, "{}", if hour < 12 { "AM" } else { "PM" }),
            'F' => write!(out, "{year}-{month:02}-{day:02}"),
            'c' => {
                write!(out, "{} {} {day:2} {hour:02}:{minute:02}:{second:02} {year}", &day_name[..3], &month_name[..3])
            }
            'x' => write!(out, "{month:02}/{day:02}/{:02}", year.rem_euclid(100)),
            'r' => write!(out, "{hour12:02}:{minute:02}:{second:02} {}", if hour < 12 { "AM" } else { "PM" }),
            'k' => write!(out, "{hour:2}"),
            'l' => write!(out, "{hour12:2}"),
            'f' => write!(out, "000000"),
            'C' => two(year.div_euclid(100)),
            'P' => write!(out, "{}", if hour < 12 { "am" } else { "pm" }),
            'u' => write!(out, "{}", if weekday == 0 { 7 } else { weekday }),
            'U' => two((first_day + 7 - weekday as i64) / 7),
            'W' => two((first_day + 7 - (weekday as i64 + 6) % 7) / 7),
            'G' => write!(out, "{}", iso_week(days).0),
            'g' => two(iso_week(days).0.rem_euclid(100)),
            'V' => two(iso_week(days).1),
            'T' | 'X' => write!(out, "{hour:02}:{minute:02}:{second:02}"),
            'D' => write!(out, "{month:02}/{day:02}/{:02}", year.rem_euclid(100)),
            'R' => write!(out, "{hour:02}:{minute:02}"),
            'w' => write!(out, "{weekday}"),
            's' => write!(out, "{now}"),
            'Z' | 'z' => Ok(()),
            'n' => writeln!(out),
            't' => write!(out, "\t"),
            '%' => write!(out, "%"),
            other => write!(out, "%{other}"),
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::strftime;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(strftime("%d %b %Y %A %j %H:%M:%S", 1_721_952_000), "26 Jul 2024 Friday 208 00:00:00");
        assert_eq!(strftime("%-d %B %y, %I %p %q%", 951_782_400 + 13 * 3600), "29 February 00, 01 PM %q%");
        assert_eq!(strftime("%F %T", -1), "1969-12-31 23:59:59");
    }
}
