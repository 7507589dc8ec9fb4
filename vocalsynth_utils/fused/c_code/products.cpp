// Matrix products shared out over threads, each of which calls OpenBLAS for its part.
//
// OpenBLAS's own threads wait for one another by spinning: with another program on the
// machine, small products then take ten times as long.  These start, work and end.
//
//   A (m, k), B (k, n), C (m, n), row-major or transposed, any leading dimension
//   x (depth), W (depth, n), y (n)
//
// And the small product of small_product.h: W (depth, n_columns) is packed once, packed
// (depth, width), then A (n_rows, depth), start (width), C (n_rows, width), width = panel_width(n_columns).
#include "common.h"
#include "openblas.h"
#include "small_product.h"

template <class real> struct Product {
    int trans_A, trans_B;
    long m, n, k, ld_A, ld_B, ld_C;
    const real *A, *B;
    real *C;
    real add;  // 0 or 1: what C is multiplied by before
};

template <class real> static void product_share(void *product, long k, long n_threads)
{
    const Product<real> p = *static_cast<Product<real> *>(product);
    const bool by_rows = p.m >= p.n;  // of C: the other factor is then the smaller one, and read by all
    const long n = by_rows ? p.m : p.n, first = part_begin(n, k, n_threads, 16), count = part_begin(n, k + 1, n_threads, 16) - first;
    if (count == 0) return;
    if (by_rows)
        gemm(p.trans_A, p.trans_B, count, p.n, p.k, p.A + first * (p.trans_A == PLAIN ? p.ld_A : 1), p.ld_A, p.B, p.ld_B,
             p.add, p.C + first * p.ld_C, p.ld_C);
    else
        gemm(p.trans_A, p.trans_B, p.m, count, p.k, p.A, p.ld_A, p.B + first * (p.trans_B == PLAIN ? 1 : p.ld_B), p.ld_B,
             p.add, p.C + first, p.ld_C);
}

template <class real> struct RowProduct {
    long depth, n, ld;
    const real *x, *W;
    real *y;
    long add;
};

template <class real> static void row_product_share(void *product, long k, long n_threads)
{
    const RowProduct<real> p = *static_cast<RowProduct<real> *>(product);
    const long first = part_begin(p.n, k, n_threads, 64), last = part_begin(p.n, k + 1, n_threads, 64);
    if (!p.add) memset(p.y + first, 0, (last - first) * sizeof(real));
    add_row_product(p.depth, last - first, p.x, p.W + first, p.ld, p.y + first);
}

extern "C" const char *instructions(void) { return INSTRUCTIONS; }

#define ENTRY_POINTS(real, suffix)                                                                                    \
    extern "C" void product_##suffix(int trans_A, int trans_B, long m, long n, long k, const real *A, long ld_A,      \
                                     const real *B, long ld_B, long add, real *C, long ld_C, long n_threads)          \
    {                                                                                                                 \
        Product<real> p = {trans_A, trans_B, m, n, k, ld_A, ld_B, ld_C, A, B, C, real(add)};                          \
        in_parallel(n_threads, product_share<real>, &p);                                                              \
    }                                                                                                                 \
    extern "C" void row_product_##suffix(long depth, long n, long ld, const real *x, const real *W, real *y, long add,\
                                         long n_threads)                                                              \
    {                                                                                                                 \
        RowProduct<real> p = {depth, n, ld, x, W, y, add};                                                            \
        in_parallel(n_threads, row_product_share<real>, &p);                                                          \
    }                                                                                                                 \
    extern "C" long panel_width_##suffix(long n_columns) { return Panel<real>::width(n_columns); }                    \
    extern "C" void pack_##suffix(long depth, long n_columns, const real *W, real *packed)                            \
    {                                                                                                                 \
        memset(packed, 0, depth * Panel<real>::width(n_columns) * sizeof(real));                                      \
        pack(W, depth, n_columns, n_columns, 1, 0, 0, depth, packed);                                                 \
    }                                                                                                                 \
    extern "C" void small_product_##suffix(long n_rows, long depth, long n_columns, const real *A, const real *packed,\
                                           const real *start, real *C)                                                \
    {                                                                                                                 \
        small_product(n_rows, depth, n_columns, A, depth, packed, start, 0, C, Panel<real>::width(n_columns));        \
    }
ENTRY_POINTS(float, f32)
ENTRY_POINTS(double, f64)
