from django.db import migrations, models


class Migration(migrations.Migration):
    """A log of what was told takes the place of the messages' numbers."""

    dependencies = [("synchronizer", "0001_initial"), ("ledger", "0012_stream_position")]

    operations = [
        migrations.CreateModel(
            name="Told",
            fields=[
                ("position", models.BigIntegerField(primary_key=True, serialize=False)),
                ("stream", models.BinaryField()),
                ("event", models.CharField(max_length=32)),
                ("object_id", models.BigIntegerField()),
                ("previous", models.BigIntegerField(null=True)),
            ],
            options={"indexes": [models.Index(fields=["stream", "position"], name="told_stream_position")]},
        ),
        migrations.RunSQL(
            "DROP SEQUENCE synchronizer_message_seq", "CREATE SEQUENCE synchronizer_message_seq"
        ),
    ]
