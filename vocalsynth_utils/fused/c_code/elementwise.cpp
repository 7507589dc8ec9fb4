// The long elementwise passes of a training step, each one trip through memory:
// the squared error with its gradient, a bias's gradient, and the parameter updates in place.
//
// Updates: every array (n_rows, n_columns), contiguous but for the gradient, whose rows are
// `ld_grad` apart: a block of columns of one product for several parameters.  `scale`
// multiplies the gradient (norm clipping).
// Column sums: x (n_rows, n_columns), rows `ld` apart; sums (n_columns), added up in double precision.
// Losses: prediction, target, d_prediction (n_a, n_b, n), last axis contiguous, the
// strides of the first two in elements; d_prediction may be prediction itself, or null.
#include "common.h"

enum { LANES = 32, GRAIN = 4096 };  // partial sums that the compiler keeps in vectors; elements per share

template <class real> struct Update {
    long n_rows, n_columns, ld_grad;
    real *param, *first, *second;  // first: accu or Adam's m; second: velocity, Adam's v, or null
    const real *grad;
    real scale, rate, rho, epsilon, momentum;  // Adam: rate is the step a_t, rho is beta1, momentum is beta2
};

template <class real>
static void rmsprop_run(const Update<real> &u, long n, real *__restrict__ p, real *__restrict__ accu,
                        real *__restrict__ velocity, const real *__restrict__ grad)
{
    const real keep = u.rho, take = 1 - u.rho;
    if (!velocity)
        for (long j = 0; j < n; ++j) {
            const real g = u.scale * grad[j];
            const real a = keep * accu[j] + take * g * g;
            accu[j] = a;
            p[j] -= u.rate * g / sqrt(a + u.epsilon);
        }
    else
        for (long j = 0; j < n; ++j) {
            const real g = u.scale * grad[j];
            const real a = keep * accu[j] + take * g * g;
            const real v = u.momentum * velocity[j] - u.rate * g / sqrt(a + u.epsilon);
            accu[j] = a;
            velocity[j] = v;
            p[j] += v;
        }
}

template <class real>
static void adam_run(const Update<real> &u, long n, real *__restrict__ p, real *__restrict__ mean,
                     real *__restrict__ square, const real *__restrict__ grad)
{
    for (long j = 0; j < n; ++j) {
        const real g = u.scale * grad[j];
        const real m = u.rho * mean[j] + (1 - u.rho) * g;
        const real v = u.momentum * square[j] + (1 - u.momentum) * g * g;
        mean[j] = m;
        square[j] = v;
        p[j] -= u.rate * m / (sqrt(v) + u.epsilon);
    }
}

// One thread's share, in runs that stay within a row of the gradient.
template <class real, void (*RUN)(const Update<real> &, long, real *, real *, real *, const real *)>
static void update_share(void *update, long k, long n_threads)
{
    const Update<real> u = *static_cast<Update<real> *>(update);
    const long n = u.n_rows * u.n_columns, end = part_begin(n, k + 1, n_threads, GRAIN);
    for (long at = part_begin(n, k, n_threads, GRAIN); at < end; ) {
        const long column = at % u.n_columns, left = u.n_columns - column, run = left < end - at ? left : end - at;
        RUN(u, run, u.param + at, u.first + at, u.second ? u.second + at : 0, u.grad + at / u.n_columns * u.ld_grad + column);
        at += run;
    }
}

template <class real> struct SquaredError {
    long n_a, n_b, n;
    const real *prediction, *target;
    real *d_prediction;
    const long *strides;  // of prediction, target, d_prediction: two each
    real factor;          // d_prediction = factor * (prediction - target)
    double sums[MAX_THREADS];
};

template <class real>
static double squared_error_row(long n, const real *x, const real *__restrict__ t, real *d, real factor)
{
    real lanes[LANES] = {};
    long j = 0;
    for (; j + LANES <= n; j += LANES)
        for (long l = 0; l < LANES; ++l) {
            const real e = x[j + l] - t[j + l];
            lanes[l] += e * e;
            if (d) d[j + l] = factor * e;
        }
    for (; j < n; ++j) {
        const real e = x[j] - t[j];
        lanes[0] += e * e;
        if (d) d[j] = factor * e;
    }
    double sum = 0;
    for (long l = 0; l < LANES; ++l) sum += lanes[l];
    return sum;
}

template <class real> static void squared_error_share(void *error, long k, long n_threads)
{
    SquaredError<real> *e = static_cast<SquaredError<real> *>(error);
    const long rows = e->n_a * e->n_b;
    const long *s = e->strides;
    double sum = 0;
    for (long row = part_begin(rows, k, n_threads, 1); row < part_begin(rows, k + 1, n_threads, 1); ++row) {
        const long a = row / e->n_b, b = row % e->n_b;
        sum += squared_error_row(e->n, e->prediction + a * s[0] + b * s[1], e->target + a * s[2] + b * s[3],
                                 e->d_prediction ? e->d_prediction + a * s[4] + b * s[5] : 0, e->factor);
    }
    e->sums[k] = sum;
}

template <class real> struct SquaredSum {
    long n;
    const real *x;
    double sums[MAX_THREADS];
};

template <class real> static void squared_sum_share(void *squares, long k, long n_threads)
{
    SquaredSum<real> *s = static_cast<SquaredSum<real> *>(squares);
    const long end = part_begin(s->n, k + 1, n_threads, GRAIN);
    double sum = 0;
    for (long begin = part_begin(s->n, k, n_threads, GRAIN); begin < end; begin += GRAIN) {
        const long m = end - begin < GRAIN ? end - begin : (long)GRAIN;
        real lanes[LANES] = {};
        long j = 0;
        for (; j + LANES <= m; j += LANES)
            for (long l = 0; l < LANES; ++l) lanes[l] += s->x[begin + j + l] * s->x[begin + j + l];
        for (; j < m; ++j) lanes[0] += s->x[begin + j] * s->x[begin + j];
        for (long l = 0; l < LANES; ++l) sum += lanes[l];
    }
    s->sums[k] = sum;
}

template <class real> struct ColumnSums {
    long n_rows, n_columns, ld;
    const real *x;
    real *sums;
};

template <class real> static void column_sums_share(void *columns, long k, long n_threads)
{
    const ColumnSums<real> c = *static_cast<ColumnSums<real> *>(columns);
    enum { BLOCK = 512 };
    const long end = part_begin(c.n_columns, k + 1, n_threads, BLOCK);
    for (long first = part_begin(c.n_columns, k, n_threads, BLOCK); first < end; first += BLOCK) {
        const long n = end - first < BLOCK ? end - first : (long)BLOCK;
        double sums[BLOCK] = {};
        for (long row = 0; row < c.n_rows; ++row)
            for (long j = 0; j < n; ++j) sums[j] += c.x[row * c.ld + first + j];
        for (long j = 0; j < n; ++j) c.sums[first + j] = sums[j];
    }
}

static double total(const double *sums, long n_threads)
{
    double sum = 0;
    for (long k = 0; k < n_threads; ++k) sum += sums[k];
    return sum;
}

// A thread earns its start-up only on a large array: it may have to wait for a
// core on which a BLAS thread still spins after the last matrix product.
static long useful_threads(long n, long n_threads)
{
    const long most = n / 4000000 + 1;
    n_threads = n_threads < most ? n_threads : most;
    return n_threads < 1 ? 1 : n_threads > MAX_THREADS ? (long)MAX_THREADS : n_threads;
}

#define ENTRY_POINTS(real, suffix)                                                                                     \
    extern "C" void rmsprop_##suffix(long n_rows, long n_columns, long ld_grad, real *param, real *first, real *second,\
                                  const real *grad, real scale, real rate, real rho, real epsilon, real momentum,      \
                                  long n_threads)                                                                      \
    {                                                                                                                  \
        Update<real> u = {n_rows, n_columns, ld_grad, param, first, second, grad, scale, rate, rho, epsilon, momentum};\
        in_parallel(useful_threads(n_rows * n_columns, n_threads), update_share<real, rmsprop_run<real>>, &u);         \
    }                                                                                                                  \
    extern "C" void adam_##suffix(long n_rows, long n_columns, long ld_grad, real *param, real *first, real *second,   \
                                  const real *grad, real scale, real rate, real rho, real epsilon, real momentum,      \
                                  long n_threads)                                                                      \
    {                                                                                                                  \
        Update<real> u = {n_rows, n_columns, ld_grad, param, first, second, grad, scale, rate, rho, epsilon, momentum};\
        in_parallel(useful_threads(n_rows * n_columns, n_threads), update_share<real, adam_run<real>>, &u);            \
    }                                                                                                                  \
    extern "C" void column_sums_##suffix(long n_rows, long n_columns, long ld, const real *x, real *sums, long n_threads)\
    {                                                                                                                  \
        ColumnSums<real> c = {n_rows, n_columns, ld, x, sums};                                                         \
        in_parallel(useful_threads(n_rows * n_columns, n_threads), column_sums_share<real>, &c);                       \
    }                                                                                                                  \
    extern "C" double squared_error_##suffix(long n_a, long n_b, long n, const real *prediction, const real *target,   \
                                             real *d_prediction, const long *strides, real factor, long n_threads)     \
    {                                                                                                                  \
        SquaredError<real> e = {n_a, n_b, n, prediction, target, d_prediction, strides, factor, {}};                   \
        n_threads = useful_threads(n_a * n_b * n, n_threads);                                                          \
        in_parallel(n_threads, squared_error_share<real>, &e);                                                         \
        return total(e.sums, n_threads);                                                                               \
    }                                                                                                                  \
    extern "C" double squared_sum_##suffix(long n, const real *x, long n_threads)                                      \
    {                                                                                                                  \
        SquaredSum<real> s = {n, x, {}};                                                                               \
        n_threads = useful_threads(n, n_threads);                                                                      \
        in_parallel(n_threads, squared_sum_share<real>, &s);                                                           \
        return total(s.sums, n_threads);                                                                               \
    }
ENTRY_POINTS(float, f32)
ENTRY_POINTS(double, f64)
