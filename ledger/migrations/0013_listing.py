from django.db import migrations, models


class Migration(migrations.Migration):
    """Indexes for the orders in which transactions are listed."""

    dependencies = [("ledger", "0012_stream_position")]

    operations = [
        migrations.AddIndex(
            model_name="transfer", index=models.Index(fields=["eon_number", "id"], name="transfer_eon")
        ),
        migrations.AddIndex(
            model_name="transfer", index=models.Index(fields=["time", "id"], name="transfer_time")
        ),
    ]
