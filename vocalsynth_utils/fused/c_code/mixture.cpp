// Mixtures of diagonal Gaussians as a dense layer gives them, one row each:
//
//   out, d_out (n_rows, K + 2 K D)    K logits, K means of D, K raw sigmas of D; contiguous
//   target, normal, drawn (n_rows, D);  uniform (n_rows, K);  nll (n_rows)
//
// with sigma = min_sigma + softplus(raw).  The negative log-likelihood of a target and its
// gradient by `out` need the same exponentials, so they are one pass; `mixture_draw` looks
// at the sigmas of the chosen component alone.
#include "common.h"

enum { MAX_MIXTURES = 64 };  // checked in Python

static inline float two_to(float n)  // n whole, -126 .. 127
{
    union { int bits; float value; } u;
    u.bits = ((int)n + 127) << 23;
    return u.value;
}

// exp(x) for x <= 0: 2^n times Taylor's series of the rest, |rest| <= ln 2 / 2; relative error 2e-7.
static inline float exp_below_zero(float x)
{
    x = x < -87.0f ? -87.0f : x;
    const float n = floorf(x * 1.44269504f + 0.5f);
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts, the first exact in float
    const float p = 1 + r * (1 + r * (1.0f / 2 + r * (1.0f / 6 + r * (1.0f / 24 + r * (1.0f / 120 + r * (1.0f / 720))))));
    return p * two_to(n);
}

// log(1 + e) for 0 <= e <= 1, as 2 artanh(e / (2 + e)); relative error 2e-7.
static inline float log_one_plus(float e)
{
    const float s = e / (2 + e), q = s * s;
    return 2 * s * (1 + q * (1.0f / 3 + q * (1.0f / 5 + q * (1.0f / 7 + q * (1.0f / 9 + q * (1.0f / 11 + q * (1.0f / 13)))))));
}

static inline double exp_below_zero(double x) { return exp(x); }
static inline double log_one_plus(double e) { return log1p(e); }

template <class real> static inline real softplus_of(real x)
{
    return (x > 0 ? x : real(0)) + log_one_plus(exp_below_zero(x > 0 ? -x : x));
}

// log(sum(exp(x))), the largest term taken out first.
static double log_sum_exp(const double *x, long n)
{
    double largest = x[0], sum = 0;
    for (long k = 1; k < n; ++k) largest = x[k] > largest ? x[k] : largest;
    for (long k = 0; k < n; ++k) sum += exp(x[k] - largest);
    return largest + log(sum);
}

template <class real> struct Mixture {
    long n_rows, n_mixtures, n_dims;
    const real *out, *target;
    real min_sigma;
    real *nll, *d_out;
};

// One dimension: factors sigma and z^2 for the density, gradients of its negative logarithm by mean and raw sigma.
template <class real>
static inline void dimension(real mean, real raw, real target, real min_sigma, real *sigma, real *square, real *d_mean, real *d_raw)
{
    const bool positive = raw > 0;
    const real e = exp_below_zero(positive ? -raw : raw);
    *sigma = min_sigma + (positive ? raw : real(0)) + log_one_plus(e);
    const real inverse = 1 / *sigma, z = (target - mean) * inverse;
    *square = z * z;
    *d_mean = -z * inverse;
    *d_raw = (1 - z * z) * inverse * (positive ? real(1) : e) / (1 + e);  // softplus has the sigmoid for a slope
}

// One component: sum over dimensions of log sigma + z^2 / 2, and the gradients.
template <class real>
static double component(long n, const real *mean, const real *raw, const real *target, real min_sigma,
                        real *__restrict__ d_mean, real *__restrict__ d_raw)
{
    enum { LANES = 8, RUN = 4 * LANES };  // one logarithm for the product of so many sigmas
    double total = 0;
    for (long first = 0; first < n; first += RUN) {
        const long end = first + RUN < n ? first + RUN : n;
        real sigmas[LANES], squares[LANES];
        for (long l = 0; l < LANES; ++l) sigmas[l] = 1, squares[l] = 0;
        real sigma[LANES], square[LANES];
        long j = first;
        for (; j + LANES <= end; j += LANES) {
            for (long l = 0; l < LANES; ++l)
                dimension(mean[j + l], raw[j + l], target[j + l], min_sigma, &sigma[l], &square[l], &d_mean[j + l], &d_raw[j + l]);
            for (long l = 0; l < LANES; ++l) sigmas[l] *= sigma[l], squares[l] += square[l];
        }
        for (; j < end; ++j) {
            dimension(mean[j], raw[j], target[j], min_sigma, &sigma[0], &square[0], &d_mean[j], &d_raw[j]);
            sigmas[0] *= sigma[0], squares[0] += square[0];
        }
        double product = 1, sum = 0;
        for (long l = 0; l < LANES; ++l) product *= sigmas[l], sum += squares[l];
        total += log(product) + 0.5 * sum;
    }
    return total;
}

template <class real> static void nll_share(void *mixture, long share, long n_threads)
{
    const Mixture<real> m = *static_cast<Mixture<real> *>(mixture);
    const long K = m.n_mixtures, D = m.n_dims, width = K * (1 + 2 * D);
    const double constant = 0.5 * D * log(2 * M_PI);
    for (long row = part_begin(m.n_rows, share, n_threads, 1); row < part_begin(m.n_rows, share + 1, n_threads, 1); ++row) {
        const real *out = m.out + row * width;
        real *d = m.d_out + row * width;
        double logits[MAX_MIXTURES], joint[MAX_MIXTURES];
        for (long k = 0; k < K; ++k) {
            logits[k] = out[k];
            joint[k] = logits[k] - component(D, out + K + k * D, out + K + (K + k) * D, m.target + row * D, m.min_sigma,
                                             d + K + k * D, d + K + (K + k) * D);
        }
        const double all = log_sum_exp(logits, K), these = log_sum_exp(joint, K);
        m.nll[row] = real(all - these + constant);
        for (long k = 0; k < K; ++k) {
            const double share_of_target = exp(joint[k] - these);
            d[k] = real(exp(logits[k] - all) - share_of_target);
            const real weight = real(share_of_target);
            for (long j = 0; j < D; ++j) d[K + k * D + j] *= weight, d[K + (K + k) * D + j] *= weight;
        }
    }
}

// Chosen component by the Gumbel-max trick, then its Gaussian.
template <class real>
static void draw(long n_rows, long K, long D, const real *out, real min_sigma, const real *uniform, const real *normal,
                 real temperature, real *drawn)
{
    for (long row = 0; row < n_rows; ++row, out += K * (1 + 2 * D), uniform += K, normal += D, drawn += D) {
        long chosen = 0;
        double best = -HUGE_VAL;
        for (long k = 0; k < K; ++k) {
            const double value = out[k] / (double)temperature - log(-log((double)uniform[k]));
            if (value > best) best = value, chosen = k;
        }
        const real *mean = out + K + chosen * D, *raw = mean + K * D;
        for (long j = 0; j < D; ++j) drawn[j] = mean[j] + temperature * (min_sigma + softplus_of(raw[j])) * normal[j];
    }
}

#define ENTRY_POINTS(real, suffix)                                                                                     \
    extern "C" void mixture_nll_##suffix(long n_rows, long n_mixtures, long n_dims, const real *out, const real *target,\
                                         real min_sigma, real *nll, real *d_out, long n_threads)                       \
    {                                                                                                                  \
        Mixture<real> m = {n_rows, n_mixtures, n_dims, out, target, min_sigma, nll, d_out};                            \
        in_parallel(n_threads, nll_share<real>, &m);                                                                   \
    }                                                                                                                  \
    extern "C" void mixture_draw_##suffix(long n_rows, long n_mixtures, long n_dims, const real *out, real min_sigma,  \
                                          const real *uniform, const real *normal, real temperature, real *drawn)      \
    {                                                                                                                  \
        draw(n_rows, n_mixtures, n_dims, out, min_sigma, uniform, normal, temperature, drawn);                         \
    }
ENTRY_POINTS(float, f32)
ENTRY_POINTS(double, f64)
