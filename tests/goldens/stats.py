"""Statistics of etk/bench.h from elsewhere: scipy 1.10, brute force over all orders in exact arithmetic, and published data.
    python3 tests/goldens/stats.py > tests/goldens/stats.json          (needs python3-scipy)
Published: NIST StRD univariate (Michelso: certified mean 299.8524, standard deviation 0.0790105478190518; NumAcc2 to 4: mean and 0.1), the critical
values of U at 5 % two-sided as printed in textbooks (Siegel 1956, table K), Hollander and Wolfe (1973, p. 69) with p = 0.1272 one-sided, and the
flow of the Nile at Aswan 1871-1970 (Cobb 1978), whose change after 1898 is known."""
import itertools
import json
import math
import random
from fractions import Fraction

import numpy as np
from scipy import stats

MICHELSON = """850 740 900 1070 930 850 950 980 980 880 1000 980 930 650 760 810 1000 1000 960 960 960 940 960 940 880 800 850 880 900 840 830 790 810
880 880 830 800 790 760 800 880 880 880 860 720 720 620 860 970 950 880 910 850 870 840 840 850 840 840 840 890 810 810 820 800 770 760 740 750 760 910
920 890 860 880 720 840 850 850 780 890 840 780 810 760 810 790 810 820 850 870 870 810 740 810 940 950 800 810 870"""
NILE = """1120 1160 963 1210 1160 1160 813 1230 1370 1140 995 935 1110 994 1020 960 1180 799 958 1140 1100 1210 1150 1250 1260 1220 1030 1100 774 840 874
694 940 833 701 916 692 1020 1050 969 831 726 456 824 702 1120 1100 832 764 821 768 845 864 862 698 845 744 796 1040 759 781 865 845 944 984 897 822 1010
771 676 649 846 812 742 801 1040 860 874 848 890 744 749 838 1050 918 986 797 923 975 815 1020 906 901 1170 912 746 919 718 714 740"""
michelson = [299 + int(x) / 1000 for x in MICHELSON.split()]
nile = [float(x) for x in NILE.split()]
assert len(michelson) == 100 and abs(np.mean(michelson) - 299.8524) < 1e-9 and abs(np.std(michelson, ddof=1) - 0.0790105478190518) < 1e-12
assert len(nile) == 100 and sum(nile) == 91935


def median_interval(x):
    """The widest k with P(Binomial(n, 1/2) < k) <= 0.025, from exact fractions."""
    x, n = sorted(x), len(x)
    k, tail = 0, Fraction(0)
    while k < n // 2 and tail + Fraction(math.comb(n, k), 2**n) <= Fraction(25, 1000):
        tail += Fraction(math.comb(n, k), 2**n)
        k += 1
    return (x[k - 1], x[n - k]) if k else (x[0], x[-1])


def describe(name, x):
    q = lambda p: float(np.quantile(x, p, method="linear"))  # type 7
    low, high = median_interval(x)
    reach = 1.5 * (q(0.75) - q(0.25))
    slope = stats.linregress(range(len(x)), x).slope if len(x) > 1 else 0.0
    return dict(name=name, samples=x, mean=math.fsum(x) / len(x), standard_deviation=float(np.std(np.array(x, dtype=np.longdouble), ddof=1)) if len(x) > 1 else 0.0,
                p5=q(.05), q1=q(.25), median=q(.5), q3=q(.75), p90=q(.9), p95=q(.95), p99=q(.99), median_low=low, median_high=high,
                mad=float(stats.median_abs_deviation(x)) * 1.4826, outliers_low=sum(v < q(.25) - reach for v in x),
                outliers_high=sum(v > q(.75) + reach for v in x), drift=slope * len(x) / q(.5))


def tail_counts(m, n):
    """counts[u] by going through every choice of places for the m samples."""
    counts = [0] * (m * n + 1)
    for places in itertools.combinations(range(m + n), m):
        counts[sum(p - i for i, p in enumerate(places))] += 1
    return counts


def interval(logs_a, logs_b, alpha, exact):
    d = sorted(b - a for a in logs_a for b in logs_b)
    m, n = len(logs_a), len(logs_b)
    if exact:
        counts = tail_counts(m, n)
        k, tail = 0, Fraction(0)
        while k < m * n // 2 and tail + Fraction(counts[k], math.comb(m + n, m)) <= Fraction(str(alpha)) / 2:
            tail += Fraction(counts[k], math.comb(m + n, m))
            k += 1
    else:
        t = np.unique(np.array(logs_a + logs_b), return_counts=True)[1].astype(float)
        N = m + n
        sigma = math.sqrt(m * n / 12 * (N + 1 - float((t**3 - t).sum()) / (N * (N - 1))))
        k = math.floor(m * n / 2 - stats.norm.isf(alpha / 2) * sigma)
    return (math.exp(d[k - 1]), math.exp(d[m * n - k])) if k >= 1 else (0.0, None)


def compare(name, a, b, alpha=0.05):
    la, lb = [math.log(x) for x in a], [math.log(x) for x in b]
    ties = len(set(la + lb)) < len(la + lb)
    exact = len(a) < 20 and len(b) < 20 and not ties
    r = stats.mannwhitneyu(b, a, alternative="two-sided", method="exact" if exact else "asymptotic", use_continuity=True)
    d = [y - x for x in la for y in lb]
    low, high = interval(la, lb, alpha, exact)
    return dict(name=name, a=a, b=b, alpha=alpha, p=float(r.pvalue), ratio=math.exp(float(np.median(d))), low=low, high=high)


rng = random.Random(20261121)
times = lambda n, scale=1.0: [scale * 0.002 * math.exp(rng.gauss(0, 0.03) + (rng.random() < 0.1) * rng.random()) for _ in range(n)]
hw_x = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46]
hw_y = [1.15, 0.88, 0.90, 0.74, 1.21]
assert abs(stats.mannwhitneyu(hw_x, hw_y, alternative="greater", method="exact").pvalue - 0.1272) < 5e-5

# Two-sided 5 %: the largest U that is significant. (n1, n2): U
CRITICAL = {(5, 5): 2, (5, 8): 6, (6, 6): 5, (7, 9): 12, (8, 8): 13, (9, 9): 17, (10, 10): 23, (12, 12): 37, (15, 15): 64, (19, 19): 113, (4, 4): 0, (10, 19): 52}

print(json.dumps(dict(
    describe=[describe("michelson", michelson), describe("nile", nile), describe("one", [3.0]), describe("two", [1.0, 4.0]),
              describe("five", times(5)), describe("six", times(6)), describe("times", times(57)), describe("many", times(1200)),
              describe("equal", [0.25] * 12), describe("rising", [1 + i / 100 for i in range(40)])],
    compare=[compare("hollander and wolfe", [math.exp(x) for x in hw_y], [math.exp(x) for x in hw_x]),
             compare("three to two", times(3), times(2)), compare("small", times(5), times(7)), compare("slower", times(6), times(6, 1.2), 0.01),
             compare("tied", [1.0, 2.0, 2.0, 3.0, 4.0], [2.0, 3.0, 3.0, 5.0, 6.0, 6.0]), compare("separate", [1.0, 1.1, 1.2, 1.3, 1.4], [2.0, 2.1, 2.2, 2.3, 2.4], 0.01),
             compare("large", times(60), times(45, 1.05), 0.01), compare("large alike", times(150), times(150)), compare("one large", times(5), times(25, 1.1))],
    critical=[dict(m=m, n=n, u=u) for (m, n), u in CRITICAL.items()],
    nile=nile), indent=1))
