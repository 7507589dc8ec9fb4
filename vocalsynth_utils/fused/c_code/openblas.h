// The matrix product of OpenBLAS, by the names the package scipy-openblas32 gives it.
#pragma once

extern "C" {
void scipy_cblas_sgemm(int order, int trans_A, int trans_B, int m, int n, int k, float alpha, const float *A, int ld_A,
                       const float *B, int ld_B, float beta, float *C, int ld_C);
void scipy_cblas_dgemm(int order, int trans_A, int trans_B, int m, int n, int k, double alpha, const double *A, int ld_A,
                       const double *B, int ld_B, double beta, double *C, int ld_C);
}

enum { ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112 };

// C (m, n) = A (m, k) B (k, n) + beta C, row-major; trans_A and trans_B say PLAIN or TRANSPOSED in memory
static inline void gemm(int trans_A, int trans_B, long m, long n, long k, const float *A, long ld_A, const float *B, long ld_B,
                        float beta, float *C, long ld_C)
{
    scipy_cblas_sgemm(ROW_MAJOR, trans_A, trans_B, m, n, k, 1, A, ld_A, B, ld_B, beta, C, ld_C);
}

static inline void gemm(int trans_A, int trans_B, long m, long n, long k, const double *A, long ld_A, const double *B,
                        long ld_B, double beta, double *C, long ld_C)
{
    scipy_cblas_dgemm(ROW_MAJOR, trans_A, trans_B, m, n, k, 1, A, ld_A, B, ld_B, beta, C, ld_C);
}
