//! Everything that is known, as metric families.

mod reflector;
mod sender;

use stamp_proto::statistics::Bins;
use telemetry::metric::{Family, Histogram, LabelValue};

use crate::catalogue as metric;
use crate::clock::HostClock;
use crate::service::Service;
use crate::tally::Tally;
use crate::target::Target;

/// All families of one moment.
pub(crate) fn families(service: &Service) -> Vec<Family> {
    let mut families = Vec::with_capacity(metric::CATALOGUE.metrics.len());
    let mut steps = Family::new(&metric::STEPS);
    let mut user_delay = Family::new(&metric::USER_DELAY);
    clock(service.clock(), &mut families);
    steps.push(["local".into()], service.clock().steps());
    let targets: Vec<&Target> =
        service.senders().iter().flat_map(|sending| &sending.targets).collect();
    let recovered: u64 = targets.iter().map(|target| target.recovered).sum();
    families.push(Family::single(&metric::RECOVERED, recovered));
    families.extend(send_stack(&targets).map(|took| Family::single(&metric::SEND_STACK, took)));
    if !targets.is_empty() {
        sender::families(&targets, &mut families);
    }
    for target in targets {
        let name = LabelValue::from(target.name.clone());
        steps.push([name.clone()], target.tally.steps());
        let Tally { bins, roundtrip, .. } = &target.tally;
        let histogram = bins.as_ref().and_then(|bins| user(bins, roundtrip.exact.sum()));
        histogram.into_iter().for_each(|histogram| user_delay.push([name.clone()], histogram));
    }
    if !service.reflectors().is_empty() {
        reflector::families(service.reflectors(), &mut families);
    }
    // One histogram stands for all reflectors: that of the first.
    if let Some(reflecting) = service.reflectors().first() {
        let histogram = reflecting.bins.as_ref().and_then(|bins| user(bins, reflecting.sum_ns));
        histogram
            .into_iter()
            .for_each(|histogram| user_delay.push(["reflector".into()], histogram));
    }
    families.extend([steps, user_delay]);
    families.push(Family::single(&metric::UNSOLICITED, service.unsolicited()));
    families.push(Family::single(&metric::EVENTS_LOST, service.lost_events()));
    let mut backend = Family::new(&metric::BACKEND);
    let [by, hook] = service.lane().map_or(["socket", "none"], |lane| ["bpf", lane.as_str()]);
    backend.push([by.into(), hook.into(), "kernel".into()], 1_u64);
    families.push(backend);
    families
}

/// Of all targets; absent where there is none.
fn send_stack(targets: &[&Target]) -> Option<Histogram> {
    let mut all = targets.iter().map(|target| &target.send_stack);
    let first = all.next()?;
    let mut counts = first.counts().to_vec();
    let mut sum = first.sum();
    for other in all {
        counts.iter_mut().zip(other.counts()).for_each(|(count, more)| *count += more);
        sum += other.sum();
    }
    Histogram::from_counts(first.bounds().to_vec(), counts, sum).ok()
}

fn clock(clock: &HostClock, families: &mut Vec<Family>) {
    let local = clock.local();
    families.push(Family::single(&metric::SYNCHRONIZED, local.synchronized));
    let mut source = Family::new(&metric::CLOCK_SOURCE);
    let name = clock.discipline().map_or("unknown", |told| told.source.name());
    source.push([name.into()], 1_u64);
    families.push(source);
    families
        .extend(local.error_ns.map(|ns| Family::single(&metric::CLOCK_ERROR, seconds(ns as f64))));
    families.extend(clock.tai_offset_s().map(|s| Family::single(&metric::TAI, f64::from(s))));
}

/// The bins of a histogram file as buckets: what is at a limit belongs to the bin below.
fn user(bins: &Bins, sum_ns: i128) -> Option<Histogram> {
    let bounds: Vec<f64> = bins.edges_ns().into_iter().map(seconds).collect();
    Histogram::from_counts(bounds, bins.counts().to_vec(), seconds(sum_ns as f64)).ok()
}

fn seconds(ns: f64) -> f64 {
    ns * 1e-9
}
