//! Content negotiation: lists with quality values (RFC 9110, section 12.4.2).

/// One element of an `Accept` or `Accept-Encoding` list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Preference<'a> {
    name: &'a str,
    version: Option<&'a str>,
    /// Thousandths, so that it compares exactly.
    pub(super) quality: u16,
}

impl<'a> Preference<'a> {
    fn parse(element: &'a str) -> Option<Self> {
        let mut parts = element.split(';').map(str::trim);
        let name = parts.next().filter(|name| !name.is_empty())?;
        let (mut version, mut quality) = (None, 1000);
        for part in parts {
            let (key, value) = part.split_once('=')?;
            let value = value.trim().trim_matches('"');
            match key.trim() {
                key if key.eq_ignore_ascii_case("q") => quality = thousandths(value)?,
                key if key.eq_ignore_ascii_case("version") => version = Some(value),
                _ => {}
            }
        }
        Some(Self { name, version, quality })
    }

    pub(super) fn is_openmetrics(&self) -> bool {
        self.is("application/openmetrics-text") && matches!(self.version, None | Some("1.0.0"))
    }

    pub(super) fn is_text(&self) -> bool {
        self.is("text/plain") && matches!(self.version, None | Some("0.0.4"))
    }

    pub(super) fn is_any(&self) -> bool {
        self.is("text/*") || self.is("*/*")
    }

    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// Reads a list; elements that are malformed are left out.
pub(super) fn preferences(header: &str) -> Vec<Preference<'_>> {
    header.split(',').take(MAX_ELEMENTS).filter_map(Preference::parse).collect()
}

/// The highest quality among the elements that are wanted.
pub(super) fn best(
    offers: &[Preference<'_>],
    wanted: impl Fn(&Preference<'_>) -> bool,
) -> Option<u16> {
    offers.iter().filter(|offer| wanted(offer)).map(|offer| offer.quality).max()
}

/// Whether a client that sent this `Accept-Encoding` takes gzip, and does not like the page
/// as it is better.
pub fn accepts_gzip(accept_encoding: Option<&str>) -> bool {
    let offers = preferences(accept_encoding.unwrap_or_default());
    let quality = |name| offers.iter().find(|offer| offer.is(name)).map(|offer| offer.quality);
    let any = quality("*");
    let gzip = quality("gzip").or_else(|| quality("x-gzip")).or(any).unwrap_or(0);
    gzip > 0 && gzip >= quality("identity").unwrap_or(0)
}

fn thousandths(text: &str) -> Option<u16> {
    let quality: f32 = text.parse().ok()?;
    (0.0..=1.0).contains(&quality).then(|| (quality * 1000.0).round() as u16)
}

/// Real clients send fewer than ten.
const MAX_ELEMENTS: usize = 32;
