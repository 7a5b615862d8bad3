"""The compiled primitives, checked once at import.

A pure Python Keccak or curve would be correct but a thousand times slower, and a hub that silently used one
would miss its deadlines; so there is no fallback.
"""

from importlib.machinery import EXTENSION_SUFFIXES

try:
    import _pysha3
    import coincurve
    import sha3
    from coincurve import _libsecp256k1
except ImportError as error:
    raise ImportError(
        f"nocust needs the compiled packages coincurve and safe-pysha3, and one cannot be imported: {error}"
    ) from error

PrivateKey = coincurve.PrivateKey
PublicKey = coincurve.PublicKey
keccak_256 = sha3.keccak_256


def _require_compiled() -> None:
    for name, module in (("safe-pysha3", _pysha3), ("coincurve", _libsecp256k1)):
        file = getattr(module, "__file__", None) or ""
        if not file.endswith(tuple(EXTENSION_SUFFIXES)):
            raise ImportError(
                f"nocust needs the compiled form of {name}, but a module in plain Python was found"
            )
    if type(keccak_256()).__module__ != "_pysha3":
        raise ImportError(
            "nocust needs keccak_256 of safe-pysha3, but another package provides the module sha3"
        )


_require_compiled()
