"""Values for property tests."""

from typing import Any

from hypothesis import strategies as st

hashes = st.binary(min_size=32, max_size=32)
addresses = st.binary(min_size=20, max_size=20)
amounts = st.integers(min_value=0, max_value=2**256 - 1)
small_amounts = st.integers(min_value=0, max_value=2**128)
trails = st.integers(min_value=0, max_value=2**64 - 1)
junk: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.floats(),
    st.integers(),
    st.integers(2**64, 2**300),
    st.text(max_size=300),
    st.text(alphabet="0123456789abcdefxX+-.eE _", max_size=140),
    st.binary(max_size=140),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)
