//! Runs a kernel compiled for the widest vectors of this machine.

/// A loop that is worth compiling once per vector width.
///
/// `run` must be `#[inline(always)]`, so that it is compiled into each of the callers below.
/// Results must not depend on the vector width: sums go to a fixed number of lanes.
pub trait Kernel {
    /// What the loop returns.
    type Output;

    /// The loop.
    fn run(self) -> Self::Output;
}

/// Runs `kernel` with AVX-512, AVX2 or the target's baseline, whichever the processor has.
pub fn vectorized<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    {
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        if avx512 {
            #[expect(unsafe_code, reason = "calls a function compiled for detected processor features")]
            // SAFETY: every feature that `wide` enables was detected just above.
            return unsafe { wide(kernel) };
        }
        if is_x86_feature_detected!("avx2") {
            #[expect(unsafe_code, reason = "calls a function compiled for detected processor features")]
            // SAFETY: the only feature that `medium` enables was detected just above.
            return unsafe { medium(kernel) };
        }
    }
    kernel.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn wide<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn medium<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}
