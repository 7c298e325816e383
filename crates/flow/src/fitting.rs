//! Maps as large as the kernel has memory for.

use flow_bpf::Sizes;

/// How often the flow tables are halved before giving up.
const HALVINGS: usize = 3;
/// The smallest flow table that can be asked for.
const LEAST: u32 = 1024;

/// Makes maps of the wanted sizes, or with smaller flow tables when there is no memory
/// for these; tells the sizes that fitted.
///
/// # Errors
///
/// When the kernel refuses for another reason, or the smallest tables do not fit.
pub(crate) fn fit<T>(
    wanted: Sizes,
    mut make: impl FnMut(Sizes) -> Result<T, flow_bpf::Error>,
) -> Result<(T, Sizes), flow_bpf::Error> {
    let mut sizes = wanted;
    for _ in 0..HALVINGS {
        match make(sizes) {
            Ok(made) => return Ok((made, sizes)),
            Err(error) if !error.is_memory() => return Err(error),
            Err(error) => {
                sizes = halved(sizes);
                tracing::warn!(
                    event = "edge.degraded",
                    reason = "memory",
                    %error,
                    flow_capacity = sizes.geometry.flow_capacity4,
                    flow_capacity6 = sizes.geometry.flow_capacity6,
                    "Flow tables are halved; more flows may be folded"
                );
            }
        }
    }
    Ok((make(sizes)?, sizes))
}

fn halved(mut sizes: Sizes) -> Sizes {
    let geometry = &mut sizes.geometry;
    for capacity in [&mut geometry.flow_capacity4, &mut geometry.flow_capacity6] {
        *capacity = (*capacity / 2).max(LEAST);
    }
    sizes
}

#[cfg(test)]
mod tests {
    use std::io;

    use flow_bpf::{Error, Step};
    use flow_model::page::{FlowKeyMode, Geometry};

    use super::*;

    fn sizes(flow_capacity4: u32, flow_capacity6: u32) -> Sizes {
        let geometry = Geometry {
            flow_capacity4,
            flow_capacity6,
            shards: 1,
            max_edges: 4,
            pair_series: 16,
            flow_key: FlowKeyMode::FiveTuple,
        };
        Sizes { geometry, edge_quota_percent: 50, early_drain_percent: 75 }
    }

    fn refusal(kind: io::ErrorKind) -> Error {
        Error::Kernel { step: Step::CreateMap, what: "flows", source: kind.into() }
    }

    /// A kernel with memory for this many IPv4 flows; notes what it was asked for.
    fn kernel(room: u32, asked: &mut Vec<u32>) -> Result<Sizes, Error> {
        let make = |sizes: Sizes| {
            asked.push(sizes.geometry.flow_capacity4);
            if sizes.geometry.flow_capacity4 <= room {
                return Ok(());
            }
            Err(refusal(io::ErrorKind::OutOfMemory))
        };
        fit(sizes(16_384, 2048), make).map(|((), sizes)| sizes)
    }

    #[test]
    fn what_fits_is_made_as_asked() {
        let mut asked = Vec::new();
        assert_eq!(kernel(16_384, &mut asked).unwrap(), sizes(16_384, 2048));
        assert_eq!(asked, [16_384]);
    }

    #[test]
    fn without_memory_both_tables_are_halved_down_to_the_smallest() {
        let mut asked = Vec::new();
        assert_eq!(kernel(4096, &mut asked).unwrap(), sizes(4096, 1024));
        assert_eq!(asked, [16_384, 8192, 4096]);
    }

    #[test]
    fn after_three_halvings_the_refusal_stands() {
        let mut asked = Vec::new();
        let error = kernel(2047, &mut asked).unwrap_err();
        assert!(error.is_memory(), "the caller is told why: {error}");
        assert_eq!(asked, [16_384, 8192, 4096, 2048]);
    }

    #[test]
    fn another_refusal_is_not_answered_with_smaller_tables() {
        let mut calls = 0;
        let refused = fit(sizes(4096, 4096), |_| {
            calls += 1;
            Err::<(), _>(refusal(io::ErrorKind::PermissionDenied))
        });
        assert!(refused.unwrap_err().is_permission());
        assert_eq!(calls, 1);
    }
}
