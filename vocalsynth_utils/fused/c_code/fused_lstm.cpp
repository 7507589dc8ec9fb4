// The recurrence of an LSTM with peepholes over a whole sequence, forward and backward.
// What is one matrix product for all steps (x W_in of a wide input, and every weight
// gradient) is not here: Python hands those to OpenBLAS.  All arrays are C-contiguous and
// time-major; gate blocks come in Lasagne's order: ingate, forgetgate, cell, outgate.
//
//   x                   (n_steps, n_batch, n_inputs)    a narrow input, or null
//   W_in[4]             (n_inputs, n_units)             with x
//   W_hid[4]            (n_units, n_units)
//   bias[4]             (n_units)
//   w_cell[3]           (n_units)                       to ingate, forgetgate, outgate; or null
//   hid_init, cell_init (n_batch, n_units)
//   mask                (n_steps, n_batch)              0 where a step is skipped and leaves the state as it is; or null
//   gates               (n_steps, n_batch, 4 n_units)   in, without x: x W_in; out: i, f, g, o after their nonlinearity
//   hid, cell           (n_steps, n_batch, n_units)
//   d_hid, d_cell       (n_steps, n_batch, n_units)     last axis contiguous, the others strided; d_cell may be null
//   d_gates             (n_steps, n_batch, 4 n_units)   gradient before the nonlinearity, clipped; may be `gates` itself
//   d_hid_init, d_cell_init (n_batch, n_units)
//   d_bias              (4 n_units),  d_w_cell (3 n_units)
//
// Threads share out the batch: sequences do not depend on one another, so nobody waits
// until the end.  Every function returns 0, or 1 when the sizes make no sense.
#include "common.h"
#include "openblas.h"
#include "small_product.h"

extern "C" {
struct Lstm {  // mirrored by native.Lstm
    long n_steps, n_batch, n_inputs, n_units;  // n_inputs 0: x W_in is in `gates` already
    long gradient_steps;            // only the last so many steps get a gradient
    long cell_kind, hid_kind;       // nonlinearities: 0 tanh, 1 rectify, 2 sigmoid, 3 linear
    long peephole_after;            // 1: PyPI Lasagne 0.1, h = (sigmoid(o) + c w_co) act(c)
    long n_threads;
    double clip;                    // gradients of the gates are cut to [-clip, clip]; 0: never
    long backwards;                 // 1: from the last step to the first
};
}

// The step that is taken after `done` others, and the one before it where there is one.
static inline long step_at(const Lstm *s, long done) { return s->backwards ? s->n_steps - 1 - done : done; }
static inline long step_before(const Lstm *s, long t) { return s->backwards ? t + 1 : t - 1; }

enum { TANH, RECTIFY, SIGMOID, LINEAR, N_KINDS };

static bool sizes_make_sense(const Lstm *s)
{
    return s->n_steps >= 1 && s->n_batch >= 0 && s->n_inputs >= 0 && s->n_units >= 1 && s->n_threads >= 1
        && s->gradient_steps >= 0 && s->gradient_steps <= s->n_steps && s->clip >= 0
        && s->cell_kind >= 0 && s->cell_kind < N_KINDS && s->hid_kind >= 0 && s->hid_kind < N_KINDS;
}

// ---- passes over one row ----------------------------------------------------------------

template <class real> static void activate(long kind, long n, const real *__restrict__ x, real *__restrict__ y)
{
    if (kind == TANH) for (long j = 0; j < n; ++j) y[j] = tanh_of(x[j]);
    else if (kind == RECTIFY) for (long j = 0; j < n; ++j) y[j] = x[j] < 0 ? real(0) : x[j];  // keeps NaN
    else if (kind == SIGMOID) for (long j = 0; j < n; ++j) y[j] = sigmoid_of(x[j]);
    else for (long j = 0; j < n; ++j) y[j] = x[j];
}

template <class real> static void sigmoid_in_place(long n, real *__restrict__ x)
{
    for (long j = 0; j < n; ++j) x[j] = sigmoid_of(x[j]);
}

// Slope from the value y = act(x).  Rectify's at x = 0 is 1/2, as in Theano; given y alone, 0 stands for x < 0.
template <class real> static void slope(long kind, long n, const real *__restrict__ y, real at_zero, real *__restrict__ d)
{
    if (kind == TANH) for (long j = 0; j < n; ++j) d[j] = 1 - y[j] * y[j];
    else if (kind == RECTIFY) for (long j = 0; j < n; ++j) d[j] = y[j] > 0 ? real(1) : y[j] < 0 ? real(0) : at_zero;
    else if (kind == SIGMOID) for (long j = 0; j < n; ++j) d[j] = y[j] * (1 - y[j]);
    else for (long j = 0; j < n; ++j) d[j] = 1;
}

// One sequence, one step.  z (4n): x W_in + h W_hid + bias; row (n): scratch.
template <class real>
static void forward_row(const Lstm *shape, const real *w_cell, const real *__restrict__ z, real *__restrict__ gates,
                        const real *__restrict__ c_before, real *__restrict__ c, real *__restrict__ h, real *__restrict__ row)
{
    const long n = shape->n_units;
    const real *__restrict__ w_ci = w_cell, *__restrict__ w_cf = w_cell + n, *__restrict__ w_co = w_cell + 2 * n;
    real *__restrict__ i = gates, *__restrict__ f = gates + n, *__restrict__ g = gates + 2 * n, *__restrict__ o = gates + 3 * n;
    for (long j = 0; j < n; ++j) {
        const real all = z[j] + z[n + j] + z[2 * n + j] + z[3 * n + j];
        i[j] = z[j] + w_ci[j] * c_before[j];
        f[j] = z[n + j] + w_cf[j] * c_before[j];
        row[j] = z[2 * n + j] + (all - all);  // an infinite sum must not saturate to something finite
        o[j] = z[3 * n + j];
    }
    sigmoid_in_place(2 * n, gates);
    activate(shape->cell_kind, n, row, g);
    for (long j = 0; j < n; ++j) c[j] = f[j] * c_before[j] + i[j] * g[j];
    if (!shape->peephole_after)
        for (long j = 0; j < n; ++j) o[j] += w_co[j] * c[j];
    sigmoid_in_place(n, o);
    activate(shape->hid_kind, n, c, row);
    if (!shape->peephole_after)
        for (long j = 0; j < n; ++j) h[j] = o[j] * row[j];
    else
        for (long j = 0; j < n; ++j) h[j] = (o[j] + w_co[j] * c[j]) * row[j];
}

// One sequence, one step, backward.  dh, dc (n): what the next step sends back; dc becomes what
// this step sends back.  d_sums (7n): d_bias and d_w_cell are added to.  rows (3n): scratch.
template <class real>
static void backward_row(const Lstm *shape, const real *w_cell, const real *gates,
                         const real *__restrict__ c_before, const real *__restrict__ c,
                         const real *__restrict__ d_hid, const real *__restrict__ d_cell,
                         const real *__restrict__ dh, real *__restrict__ dc,
                         real *d_gates, real *__restrict__ dz, real *__restrict__ d_sums, real *__restrict__ rows)
{
    const long n = shape->n_units;
    const real *__restrict__ w_ci = w_cell, *__restrict__ w_cf = w_cell + n, *__restrict__ w_co = w_cell + 2 * n;
    const real *i = gates, *f = gates + n, *g = gates + 2 * n, *o = gates + 3 * n;
    real *__restrict__ a = rows, *__restrict__ da = rows + n, *__restrict__ dg = rows + 2 * n;
    real *__restrict__ sum_wi = d_sums + 4 * n, *__restrict__ sum_wf = d_sums + 5 * n, *__restrict__ sum_wo = d_sums + 6 * n;
    const real after = real(shape->peephole_after), inside = 1 - after;

    activate(shape->hid_kind, n, c, a);
    slope(shape->hid_kind, n, shape->hid_kind == RECTIFY ? c : a, real(0.5), da);
    slope(shape->cell_kind, n, g, real(0), dg);
    if (d_cell)
        for (long j = 0; j < n; ++j) dc[j] += d_cell[j];
    for (long j = 0; j < n; ++j) {
        const real to_hid = dh[j] + d_hid[j];
        const real factor = o[j] + after * (w_co[j] * c[j]);  // h = factor * a
        const real d_factor = to_hid * a[j];
        const real d_o = d_factor * o[j] * (1 - o[j]);
        const real d_peephole = inside * d_o + after * d_factor;
        const real d_c = dc[j] + to_hid * factor * da[j] + d_peephole * w_co[j];
        const real d_i = d_c * g[j] * i[j] * (1 - i[j]);
        const real d_f = d_c * c_before[j] * f[j] * (1 - f[j]);
        const real d_g = d_c * i[j] * dg[j];
        sum_wi[j] += d_i * c_before[j];
        sum_wf[j] += d_f * c_before[j];
        sum_wo[j] += d_peephole * c[j];
        dc[j] = d_c * f[j] + d_i * w_ci[j] + d_f * w_cf[j];  // the peepholes carry the uncut gradient, as in Lasagne
        dz[j] = d_i;
        dz[n + j] = d_f;
        dz[2 * n + j] = d_g;
        dz[3 * n + j] = d_o;
    }
    const real clip = real(shape->clip);
    if (clip > 0)
        for (long j = 0; j < 4 * n; ++j) dz[j] = dz[j] > clip ? clip : dz[j] < -clip ? -clip : dz[j];
    for (long j = 0; j < 4 * n; ++j) d_sums[j] += dz[j];
    memcpy(d_gates, dz, 4 * n * sizeof(real));
}

// C (n_rows, n) += A (n_rows, n) W (n, n), for a single step, where packing W would cost more than the product
template <class real> static void add_product(long n_rows, long n, const real *A, const real *W, real *C, long ld_C)
{
    if (n_rows == 1) add_row_product(n, n, A, W, n, C);
    else gemm(PLAIN, PLAIN, n_rows, n, n, A, n, W, n, real(1), C, ld_C);
}

// ---- passes over a sequence -------------------------------------------------------------

template <class real> struct Arrays {
    const Lstm *shape;
    const real *const *W_hid;
    const real *x, *hid_init, *cell_init, *mask, *d_hid, *d_cell;
    long d_hid_step, d_hid_row, d_cell_step, d_cell_row;  // strides, in elements
    real *gates, *hid, *cell, *d_gates, *d_hid_init, *d_cell_init;
    // in the workspace
    real *packed, *packed_in;       // shared: W_hid or its transpose in panels, W_in in panels
    real *start, *w_cell;           // shared: bias, peepholes (3 n_units)
    real *d_sums, *step_sums, *rows;   // per thread: 7 n_units, 7 n_units, 3 n_units
    real *product, *dz, *dh;        // per sequence: panels of 4 n_units, 4 n_units, panels of n_units
};

template <class real> static long workspace_parts(const Lstm *s, Arrays<real> *a, real *base)
{
    const long H = s->n_units, wide = Panel<real>::width(4 * H), narrow = Panel<real>::width(H), line = 64 / sizeof(real);
    long at = 0;
    real **const parts[] = {&a->packed, &a->packed_in, &a->start, &a->w_cell, &a->d_sums, &a->step_sums, &a->rows, &a->product, &a->dz, &a->dh};
    const long sizes[] = {H * wide > 4 * H * narrow ? H * wide : 4 * H * narrow, s->n_inputs * wide, wide, 3 * H, 7 * H * s->n_threads,
                          7 * H * s->n_threads, 3 * H * s->n_threads, wide * s->n_batch, 4 * H * s->n_batch, narrow * s->n_batch};
    for (int k = 0; k < 10; ++k) {
        *parts[k] = base + at;
        at += (sizes[k] + line - 1) / line * line + line;
    }
    return at;
}

template <class real> static void forward_share(void *arrays, long k, long n_threads)
{
    const Arrays<real> a = *static_cast<Arrays<real> *>(arrays);
    const Lstm *s = a.shape;
    const long H = s->n_units, B = s->n_batch, wide = Panel<real>::width(4 * H);
    const long first = part_begin(B, k, n_threads, 1), last = part_begin(B, k + 1, n_threads, 1);
    for (long done = 0; done < s->n_steps; ++done) {
        const long t = step_at(s, done), before = step_before(s, t);
        const real *h_before = done ? a.hid + before * B * H : a.hid_init;
        const real *c_before = done ? a.cell + before * B * H : a.cell_init;
        real *z = a.product + first * wide;
        if (s->n_inputs)
            small_product(last - first, s->n_inputs, 4 * H, a.x + (t * B + first) * s->n_inputs, s->n_inputs,
                          a.packed_in, a.start, 0, z, wide);
        else
            for (long b = first; b < last; ++b)
                for (long j = 0; j < 4 * H; ++j) a.product[b * wide + j] = a.gates[(t * B + b) * 4 * H + j] + a.start[j];
        if (s->n_steps > 1)
            small_product(last - first, H, 4 * H, h_before + first * H, H, a.packed, z, wide, z, wide);
        else
            for (long g = 0; g < 4; ++g) add_product(last - first, H, h_before + first * H, a.W_hid[g], z + g * H, wide);
        for (long b = first; b < last; ++b) {
            const long row = t * B + b;
            if (a.mask && a.mask[row] == 0) {
                memcpy(a.cell + row * H, c_before + b * H, H * sizeof(real));
                memcpy(a.hid + row * H, h_before + b * H, H * sizeof(real));
                continue;
            }
            forward_row(s, a.w_cell, a.product + b * wide, a.gates + row * 4 * H, c_before + b * H,
                        a.cell + row * H, a.hid + row * H, a.rows + k * 3 * H);
        }
    }
}

template <class real> static void backward_share(void *arrays, long k, long n_threads)
{
    const Arrays<real> a = *static_cast<Arrays<real> *>(arrays);
    const Lstm *s = a.shape;
    const long H = s->n_units, B = s->n_batch, T = s->n_steps, narrow = Panel<real>::width(H), wide = Panel<real>::width(4 * H);
    const long first = part_begin(B, k, n_threads, 1), last = part_begin(B, k + 1, n_threads, 1);
    const long stop = T - s->gradient_steps;
    real *sums = a.d_sums + k * 7 * H, *step_sums = a.step_sums + k * 7 * H;
    memset(sums, 0, 7 * H * sizeof(real));
    memset(a.dh + first * narrow, 0, (last - first) * narrow * sizeof(real));
    memset(a.d_cell_init + first * H, 0, (last - first) * H * sizeof(real));
    for (long done = T - 1; done >= stop; --done) {
        const long t = step_at(s, done);
        const real *c_before = done ? a.cell + step_before(s, t) * B * H : a.cell_init;
        memset(step_sums, 0, 7 * H * sizeof(real));  // sums of sums: float32 keeps its digits over long sequences
        for (long b = first; b < last; ++b) {
            const long row = t * B + b;
            const real *d_hid = a.d_hid + t * a.d_hid_step + b * a.d_hid_row;
            const real *d_cell = a.d_cell ? a.d_cell + t * a.d_cell_step + b * a.d_cell_row : 0;
            if (a.mask && a.mask[row] == 0) {  // what comes from above goes on to the step before
                for (long j = 0; j < H; ++j) a.product[b * wide + j] = a.dh[b * narrow + j] + d_hid[j];
                for (long j = 0; d_cell && j < H; ++j) a.d_cell_init[b * H + j] += d_cell[j];
                memset(a.d_gates + row * 4 * H, 0, 4 * H * sizeof(real));
                memset(a.dz + b * 4 * H, 0, 4 * H * sizeof(real));
                continue;
            }
            backward_row(s, a.w_cell, a.gates + row * 4 * H, c_before + b * H, a.cell + row * H, d_hid, d_cell,
                         a.dh + b * narrow, a.d_cell_init + b * H, a.d_gates + row * 4 * H, a.dz + b * 4 * H,
                         step_sums, a.rows + k * 3 * H);
        }
        for (long j = 0; j < 7 * H; ++j) sums[j] += step_sums[j];
        small_product(last - first, 4 * H, H, a.dz + first * 4 * H, 4 * H, a.packed, a.start, 0,
                      a.dh + first * narrow, narrow);
        for (long b = first; a.mask && b < last; ++b)
            if (a.mask[t * B + b] == 0) memcpy(a.dh + b * narrow, a.product + b * wide, H * sizeof(real));
    }
    for (long done = 0; done < stop; ++done)
        memset(a.d_gates + (step_at(s, done) * B + first) * 4 * H, 0, (last - first) * 4 * H * sizeof(real));
    for (long b = first; b < last; ++b) {
        if (stop > 0) memset(a.d_cell_init + b * H, 0, H * sizeof(real));  // scan's truncation never reaches them
        if (stop > 0) memset(a.d_hid_init + b * H, 0, H * sizeof(real));
        else memcpy(a.d_hid_init + b * H, a.dh + b * narrow, H * sizeof(real));
    }
}

template <class real> static void copy_peepholes(const real *const *w_cell, long H, real *to)
{
    for (long g = 0; g < 3; ++g)
        if (w_cell) memcpy(to + g * H, w_cell[g], H * sizeof(real));
        else memset(to + g * H, 0, H * sizeof(real));
}

// What the forward pass keeps in its workspace: bias, peepholes and, where there is more than one step, the weights in panels.
template <class real>
static void prepare(const Lstm *s, const real *const *W_in, const real *const *W_hid, const real *const *bias,
                    const real *const *w_cell, bool packs, const Arrays<real> &a)
{
    const long H = s->n_units, wide = Panel<real>::width(4 * H);
    memset(a.start, 0, wide * sizeof(real));
    for (long g = 0; g < 4; ++g)
        memcpy(a.start + g * H, bias[g], H * sizeof(real));
    copy_peepholes(w_cell, H, a.w_cell);
    if (s->n_inputs) {
        if (wide > 4 * H) memset(a.packed_in, 0, s->n_inputs * wide * sizeof(real));
        for (long g = 0; g < 4; ++g) pack(W_in[g], s->n_inputs, H, H, 1, 0, g * H, s->n_inputs, a.packed_in);
    }
    if (packs) {
        if (wide > 4 * H) memset(a.packed, 0, H * wide * sizeof(real));
        for (long g = 0; g < 4; ++g) pack(W_hid[g], H, H, H, 1, 0, g * H, H, a.packed);
    }
}

template <class real>
static int forward(const Lstm *s, const real *x, const real *const *W_in, const real *const *W_hid,
                   const real *const *bias, const real *const *w_cell, const real *hid_init, const real *cell_init,
                   const real *mask, real *gates, real *hid, real *cell, real *workspace)
{
    if (!sizes_make_sense(s)) return 1;
    Arrays<real> a = {};
    workspace_parts(s, &a, workspace);
    a.shape = s;
    a.x = x, a.W_hid = W_hid, a.hid_init = hid_init, a.cell_init = cell_init, a.mask = mask, a.gates = gates, a.hid = hid, a.cell = cell;
    prepare(s, W_in, W_hid, bias, w_cell, s->n_steps > 1, a);
    in_parallel(s->n_threads, forward_share<real>, &a);
    return 0;
}

template <class real>
static int backward(const Lstm *s, const real *const *W_hid, const real *const *w_cell, const real *cell_init,
                    const real *mask, const real *gates, const real *cell, const real *d_hid, const long *d_hid_strides,
                    const real *d_cell, const long *d_cell_strides, real *d_gates, real *d_hid_init, real *d_cell_init,
                    real *d_bias, real *d_w_cell, real *workspace)
{
    if (!sizes_make_sense(s)) return 1;
    Arrays<real> a = {};
    workspace_parts(s, &a, workspace);
    a.shape = s;
    a.cell_init = cell_init, a.mask = mask, a.gates = const_cast<real *>(gates), a.cell = const_cast<real *>(cell);
    a.d_hid = d_hid, a.d_hid_step = d_hid_strides[0], a.d_hid_row = d_hid_strides[1];
    a.d_cell = d_cell, a.d_cell_step = d_cell_strides[0], a.d_cell_row = d_cell_strides[1];
    a.d_gates = d_gates, a.d_hid_init = d_hid_init, a.d_cell_init = d_cell_init;
    const long H = s->n_units, narrow = Panel<real>::width(H);
    if (narrow > H) memset(a.packed, 0, 4 * H * narrow * sizeof(real));
    memset(a.start, 0, narrow * sizeof(real));
    for (long g = 0; g < 4; ++g)
        pack(W_hid[g], H, H, 1, H, g * H, 0, 4 * H, a.packed);  // transposed: rows are gate units, columns are hid
    copy_peepholes(w_cell, H, a.w_cell);
    in_parallel(s->n_threads, backward_share<real>, &a);
    memset(d_bias, 0, 4 * H * sizeof(real));
    memset(d_w_cell, 0, 3 * H * sizeof(real));
    for (long k = 0; k < s->n_threads; ++k) {
        for (long j = 0; j < 4 * H; ++j) d_bias[j] += a.d_sums[k * 7 * H + j];
        for (long j = 0; j < 3 * H; ++j) d_w_cell[j] += a.d_sums[k * 7 * H + 4 * H + j];
    }
    return 0;
}

// One step of several sequences after another, by a workspace that has been prepared once: the state is carried on in place.
// x (n_rows, n_inputs), hid, cell (n_rows, n_units), n_rows at most the n_batch it was prepared for.
extern "C" void lstm_step_f32(const Lstm *s, long n_rows, const float *x, float *hid, float *cell, float *workspace)
{
    Arrays<float> a = {};
    workspace_parts(s, &a, workspace);
    const long H = s->n_units, wide = Panel<float>::width(4 * H);
    float *gates = a.dz, *row = a.rows, *fresh = a.dh;
    small_product(n_rows, s->n_inputs, 4 * H, x, s->n_inputs, a.packed_in, a.start, 0, a.product, wide);
    small_product(n_rows, H, 4 * H, hid, H, a.packed, a.product, wide, a.product, wide);
    for (long b = 0; b < n_rows; ++b) {
        forward_row(s, a.w_cell, a.product + b * wide, gates, cell + b * H, fresh, hid + b * H, row);
        memcpy(cell + b * H, fresh, H * sizeof(float));
    }
}

extern "C" void lstm_prepare_f32(const Lstm *s, const float *const *W_in, const float *const *W_hid, const float *const *bias,
                                 const float *const *w_cell, float *workspace)
{
    Arrays<float> a = {};
    workspace_parts(s, &a, workspace);
    prepare(s, W_in, W_hid, bias, w_cell, true, a);
}

#define ENTRY_POINTS(real, suffix)                                                                                    \
    extern "C" long lstm_workspace_##suffix(const Lstm *s)                                                            \
    {                                                                                                                 \
        Arrays<real> a;                                                                                               \
        return sizes_make_sense(s) ? workspace_parts(s, &a, (real *)0) : -1;                                          \
    }                                                                                                                 \
extern "C" int lstm_forward_##suffix(const Lstm *s, const real *x, const real *const *W_in,                       \
                                         const real *const *W_hid, const real *const *bias,                           \
                                         const real *const *w_cell, const real *hid_init, const real *cell_init,      \
                                         const real *mask, real *gates, real *hid, real *cell, real *workspace)       \
    {                                                                                                                 \
        return forward<real>(s, x, W_in, W_hid, bias, w_cell, hid_init, cell_init, mask, gates, hid, cell, workspace);\
    }                                                                                                                 \
    extern "C" int lstm_backward_##suffix(                                                                            \
        const Lstm *s, const real *const *W_hid, const real *const *w_cell, const real *cell_init, const real *mask,  \
        const real *gates, const real *cell, const real *d_hid, const long *d_hid_strides, const real *d_cell,        \
        const long *d_cell_strides, real *d_gates, real *d_hid_init, real *d_cell_init, real *d_bias, real *d_w_cell, \
        real *workspace)                                                                                              \
    {                                                                                                                 \
        return backward<real>(s, W_hid, w_cell, cell_init, mask, gates, cell, d_hid, d_hid_strides, d_cell,           \
                              d_cell_strides, d_gates, d_hid_init, d_cell_init, d_bias, d_w_cell, workspace);         \
    }
ENTRY_POINTS(float, f32)
ENTRY_POINTS(double, f64)
