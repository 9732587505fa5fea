# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # From the shop's transactions to a dataset
#
# `invoke prepare` runs this notebook, assigns its options, and keeps what it writes by digest. Jupyter opens it, too, with
# Jupytext: it is the only file of the notebook in git, without outputs.

# %% tags=["parameters"]
source = ""  # transactions: .csv, .xlsx, .parquet, a path or s3://; without it they are generated
seed = 7  # of generated transactions
dates, decimal, zone = "", "", "UTC"
not_products = ""  # regular expression of codes that are no products; the default is that of cleaning.py
out = "."

# %%
import json
from pathlib import Path

from service import cleaning, dataset, market, reading

# %% [markdown]
# ## Read
#
# What allows two readings is refused, with the option that decides it.

# %%
raw = reading.read(source, dates=dates, decimal=decimal, zone=zone) if source else market.generate(seed)
print(f"{len(raw)} rows")

# %% [markdown]
# ## Clean
#
# Cancellations are taken from the orders that they cancel; what is no sale of a product is dropped, and counted by its reason.

# %%
frame, found = cleaning.clean(raw, not_products or cleaning.NOT_PRODUCTS)
print(found)

# %% [markdown]
# ## Write
#
# With what was dropped, so that training knows that these rows are clean.

# %%
frame.attrs[dataset.PREPARED] = str(found)
frame.to_parquet(Path(out, "data.parquet"), index=False)
counts = {"rows": len(frame), "dropped": {reason: count for reason, count in found.dropped.items() if count}}
Path(out, "manifest.json").write_text(json.dumps(counts), encoding="utf-8")
