// What the passes share: tanh and sigmoid that vectorise, and a team of threads.
#pragma once
#include <math.h>
#include <pthread.h>
#include <stddef.h>

// Rational fit of tanh(x)/x in x^2 on |x| <= 8, coefficients rounded to float32:
// largest absolute error 3e-7 in float32 arithmetic.  A NaN passes through the
// comparisons (they are false) and so through the whole expression.
static inline float tanh_of(float x)
{
    x = x > 8.0f ? 8.0f : x;
    x = x < -8.0f ? -8.0f : x;
    const float u = x * x;
    float p = -1.1320570267878485e-13f;
    p = p * u + 6.276124758786139e-11f;
    p = p * u - 2.213569239017943e-08f;
    p = p * u + 1.1599014214880299e-05f;
    p = p * u + 3.1452206894755363e-03f;
    p = p * u + 0.13120633363723755f;
    p = p * u + 1.0f;
    float q = 2.6069401064887643e-04f;
    q = q * u + 0.024658482521772385f;
    q = q * u + 0.46453961730003357f;
    q = q * u + 1.0f;
    return x * p / q;
}

static inline double tanh_of(double x) { return tanh(x); }

// sigmoid(x) = (1 + tanh(x / 2)) / 2
template <class real> static inline real sigmoid_of(real x)
{
    return real(0.5) + real(0.5) * tanh_of(real(0.5) * x);
}

// Runs work(argument, k, n_threads) for k = 0 .. n_threads - 1, k = 0 on the
// calling thread.  A thread the system refuses is no failure: its share then
// runs on the calling thread.
enum { MAX_THREADS = 64 };

struct Share {
    void (*work)(void *argument, long k, long n_threads);
    void *argument;
    long k, n_threads;
};

static void *run_share(void *share_)
{
    Share *share = static_cast<Share *>(share_);
    share->work(share->argument, share->k, share->n_threads);
    return 0;
}

static void in_parallel(long n_threads, void (*work)(void *, long, long), void *argument)
{
    pthread_t threads[MAX_THREADS];
    Share shares[MAX_THREADS];
    bool started[MAX_THREADS];
    if (n_threads > MAX_THREADS) n_threads = MAX_THREADS;
    for (long k = n_threads - 1; k >= 0; --k) {
        const Share share = {work, argument, k, n_threads};
        shares[k] = share;
        started[k] = k > 0 && pthread_create(&threads[k], 0, run_share, &shares[k]) == 0;
        if (!started[k]) run_share(&shares[k]);
    }
    for (long k = 1; k < n_threads; ++k)
        if (started[k]) pthread_join(threads[k], 0);
}

// The k-th of n_threads nearly equal parts of 0 .. n, cut at multiples of `grain`.
static inline long part_begin(long n, long k, long n_threads, long grain)
{
    const long n_grains = (n + grain - 1) / grain;
    const long begin = n_grains * k / n_threads * grain;
    return begin < n ? begin : n;
}
