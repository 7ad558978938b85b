#![allow(clippy::all, clippy::pedantic, missing_docs, clippy::print_stdout)]
use secateur::exec::kernels::{
    Window,
    conv::*,
    im2col::Unfold,
    linear::Linear,
    matrix::{Matrix, multiply},
    pool::max_plane,
};
use std::time::Instant;
fn t(name: &str, flop: f64, n: usize, mut f: impl FnMut()) {
    f();
    let mut best = f64::INFINITY;
    for _ in 0..n {
        let s = Instant::now();
        f();
        best = best.min(s.elapsed().as_secs_f64());
    }
    println!("{name:<40} {:9.1} us  {:7.1} GFLOP/s", best * 1e6, flop / best / 1e9);
}
fn main() {
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().unwrap();
    let v = |n: usize| (0..n).map(|i| ((i * 7919) % 1000) as f32 / 1000.0 - 0.5).collect::<Vec<f32>>();
    for (o, k, n) in [
        (20, 25, 576),
        (20, 25, 576 * 8),
        (20, 25, 576 * 9),
        (50, 500, 64 * 4),
        (50, 500, 64 * 8),
        (50, 500, 64 * 16),
        (500, 800, 64),
        (256, 256, 256),
        (64, 576, 49 * 4),
        (16, 144, 784),
        (32, 288, 196),
    ] {
        let (a, b) = (v(o * k), v(k * n));
        let mut c = v(o * n);
        t(&format!("gemm {o}x{k}x{n} (W x cols)"), 2.0 * (o * k * n) as f64, 50, || {
            multiply(&mut c, false, Matrix::new(&a, o, k), Matrix::new(&b, k, n))
        });
        t(&format!("gemm x[{n},{k}] W^T"), 2.0 * (o * k * n) as f64, 50, || {
            multiply(&mut c, false, Matrix::new(&b, n, k), Matrix::new(&a, o, k).t())
        });
    }
    for (c, h, k) in [(1usize, 28usize, 5usize), (20, 12, 5)] {
        let u = Unfold { channels: c, input: [h, h], output: [h - k + 1; 2], window: Window::dense([k, k]) };
        let p = (h - k + 1) * (h - k + 1);
        let x = v(c * h * h * 16);
        let mut cols = v(u.rows() * p * 16);
        t(&format!("im2col {c}x{h} 16 images"), 0.0, 50, || {
            for i in 0..16 {
                u.im2col(&x[i * c * h * h..], (0, p), &mut cols[i * p..], p * 16)
            }
        });
        let o = if c == 1 { 20 } else { 50 };
        let conv = Convolution {
            batch: 16,
            channels: c,
            outputs: o,
            groups: 1,
            input: [h, h],
            output: [h - k + 1; 2],
            window: Window::dense([k, k]),
        };
        let w = v(o * u.rows());
        let b = v(o);
        let fl = 2.0 * (16 * o * u.rows() * p) as f64;
        let pk = ConvWeight::new(&w, &[o, c, k, k], 1);
        t("direct plain", fl, 50, || drop(conv.forward(&x, &pk, &Epilogue { bias: Some(&b), ..Default::default() })));
        t("direct + pool", fl, 50, || {
            drop(conv.forward(
                &x,
                &pk,
                &Epilogue {
                    bias: Some(&b),
                    max_pool: Some(Window { stride: [2; 2], ..Window::dense([2; 2]) }),
                    ..Default::default()
                },
            ))
        });
        let mut out = v(p / 4);
        let s = v(p);
        t("pool planes", 0.0, 50, || {
            for _ in 0..16 * o {
                max_plane(
                    &Window { stride: [2; 2], ..Window::dense([2; 2]) },
                    &s,
                    ([h - k + 1; 2], h - k + 1),
                    &mut out,
                    [(h - k + 1) / 2; 2],
                )
            }
        });
    }
    let l = Linear { rows: 256, inputs: 800, outputs: 500 };
    let (x, w) = (v(256 * 800), v(500 * 800));
    t("pack linear", 0.0, 20, || drop(secateur::exec::kernels::panel::PanelWeight::new(&w, 500, 800)));
    let pw = secateur::exec::kernels::panel::PanelWeight::new(&w, 500, 800);
    t("linear 256x800x500", 2.0 * 256.0 * 800.0 * 500.0, 20, || drop(l.forward(&x, &pw, &Epilogue::default())));
}
