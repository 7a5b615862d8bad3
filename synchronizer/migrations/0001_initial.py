from django.db import migrations, models
from django.utils import timezone


class Migration(migrations.Migration):
    initial = True
    dependencies: list[tuple[str, str]] = []

    operations = [
        migrations.CreateModel(
            name="SetAside",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("event", models.CharField(max_length=32)),
                ("object_id", models.BigIntegerField()),
                ("created", models.DateTimeField()),
                ("reason", models.TextField()),
                ("time", models.DateTimeField(default=timezone.now)),
            ],
            options={"ordering": ["id"]},
        ),
        # Numbers the relay's messages, so that a server process sees that it missed one.
        migrations.RunSQL(
            "CREATE SEQUENCE synchronizer_message_seq", "DROP SEQUENCE synchronizer_message_seq"
        ),
    ]
