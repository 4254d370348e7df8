use super::*;

/// Switched on at rate 0.3, off at rate 0.02, bleached from the on state at rate 0.01.
fn chain() -> Chain {
    #[rustfmt::skip]
    let rates = [0.0, 0.3, 0.01,
                 0.02, 0.0, 0.0,
                 0.0, 0.0, 0.0];
    Chain::new(&rates, &[1.0, 0.0, 0.0], &[0.1, 0.9, 0.0]).unwrap()
}

type Rows = (Vec<(i32, i64, f32)>, Vec<(i64, f64, f64, u8, f32)>);

fn slab(blinking: &mut Blinking, frame: u32) -> Rows {
    let [records, sojourns] = blinking.advance(frame, &Stop::default()).unwrap();
    let (mut frame, mut molecule, mut photons) = (vec![0; records], vec![0; records], vec![0.0; records]);
    let places: Vec<[f32; 3]> = (0..blinking.molecules.len()).map(|i| [i as f32, 2.0, 3.0]).collect();
    let mut xyz = vec![[0.0; 3]; records];
    let mut out = RecordColumns { frame: &mut frame, molecule: &mut molecule, photons: &mut photons, xyz: &mut xyz };
    blinking.records_into(&places, &mut out).unwrap();
    assert!(
        xyz.iter()
            .zip(&molecule)
            .all(|(place, &whose)| place.map(f32::to_bits) == places[whose as usize].map(f32::to_bits))
    );
    assert!(
        blinking
            .records_into(
                &places[1..],
                &mut RecordColumns { frame: &mut [], molecule: &mut [], photons: &mut [], xyz: &mut [] }
            )
            .is_err()
    );
    let (mut whose, mut t0, mut on_time) = (vec![0; sojourns], vec![0.0; sojourns], vec![0.0; sojourns]);
    let (mut state, mut light) = (vec![0; sojourns], vec![0.0; sojourns]);
    blinking
        .sojourns_into(&mut SojournColumns {
            molecule: &mut whose,
            t0: &mut t0,
            on_time: &mut on_time,
            state: &mut state,
            photons: &mut light,
        })
        .unwrap();
    let records = frame.into_iter().zip(molecule).zip(photons).map(|((f, m), p)| (f, m, p)).collect();
    let rows = (0..sojourns).map(|i| (whose[i], t0[i], on_time[i], state[i], light[i])).collect();
    (records, rows)
}

#[test]
fn slabs_change_nothing() {
    let law = PhotonLaw::new("gamma", 1000.0, 300.0).unwrap();
    let make = || Blinking::new(chain(), Brightness::PerSojourn(10_000, law), 60, 7).unwrap();
    let whole = slab(&mut make(), 60);
    assert!(whole.0.is_sorted_by_key(|&(frame, molecule, _)| (frame, molecule)));
    let mut parts = make();
    let mut joined: Rows = (Vec::new(), Vec::new());
    for stop in [1, 1, 2, 17, 48, 60] {
        let (records, sojourns) = slab(&mut parts, stop);
        joined.0.extend(records);
        joined.1.extend(sojourns);
    }
    assert_eq!(whole, joined);
    assert!(parts.advance(59, &Stop::default()).is_err() && parts.advance(61, &Stop::default()).is_err());
}

#[test]
fn records_are_the_overlaps_of_sojourns() {
    let photons: Vec<f32> = (0..2000).map(|i| 100.0 + i as f32).collect();
    let mut blinking = Blinking::new(chain(), Brightness::PerMolecule(photons), 40, 3).unwrap();
    let (records, sojourns) = slab(&mut blinking, 40);
    let mut expected = std::collections::BTreeMap::new();
    for (molecule, t0, on_time, state, photons) in sojourns {
        assert_eq!(state, 0);
        for frame in 0..40 {
            let overlap = (t0 + on_time).min(f64::from(frame) + 1.0) - t0.max(f64::from(frame));
            if overlap > 0.0 {
                *expected.entry((frame, molecule)).or_insert(0.0) += overlap * f64::from(photons);
            }
        }
    }
    assert_eq!(expected.len(), records.len());
    for ((frame, molecule, found), (place, expected)) in records.into_iter().zip(expected) {
        assert_eq!((frame, molecule), place);
        assert!((f64::from(found) - expected).abs() <= 1e-6 * expected + 1e-9);
    }
}

#[test]
fn wrong_chains_are_refused() {
    assert!(Chain::new(&[], &[], &[]).is_err());
    assert!(Chain::new(&[0.0; 4], &[1.0, 0.0], &[1.0]).is_err());
    assert!(Chain::new(&[0.0, -1.0, 0.0, 0.0], &[1.0, 0.0], &[1.0, 0.0]).is_err());
    assert!(Chain::new(&[0.0; 4], &[1.0, f64::NAN], &[1.0, 0.0]).is_err());
    assert!(Chain::new(&[0.0; 4], &[1.0, 0.0], &[0.0, 0.0]).is_err());
    let bad = Brightness::PerMolecule(vec![f32::NAN]);
    assert!(Blinking::new(chain(), bad, 1, 0).is_err());
}
