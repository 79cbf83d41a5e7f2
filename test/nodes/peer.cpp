// A DDS participant with the identity of a ROS 2 enclave: publishes or receives robot commands and prints their number.
//   peer pub|sub ENCLAVE SECONDS TOPIC      ENCLAVE: folder of the enclave in a keystore, or "none" for no identity
// The properties are those that rmw_fastrtps sets for ROS_SECURITY_ENABLE. Needs Fast DDS 2 built with security.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

#include <fastdds/dds/domain/DomainParticipant.hpp>
#include <fastdds/dds/domain/DomainParticipantFactory.hpp>
#include <fastdds/dds/publisher/DataWriter.hpp>
#include <fastdds/dds/publisher/Publisher.hpp>
#include <fastdds/dds/subscriber/DataReader.hpp>
#include <fastdds/dds/subscriber/SampleInfo.hpp>
#include <fastdds/dds/subscriber/Subscriber.hpp>
#include <fastdds/dds/topic/TopicDataType.hpp>
#include <fastdds/dds/topic/TypeSupport.hpp>

using namespace eprosima::fastdds::dds;
using namespace eprosima::fastrtps::rtps;

struct Eight {
    char bytes[8];
};

class Raw : public TopicDataType {
public:
    Raw() {
        setName("std_msgs::msg::dds_::Float64MultiArray_");
        m_typeSize = 16;
        m_isGetKeyDefined = false;
    }
    bool serialize(void* data, SerializedPayload_t* out) override {
        out->length = 12;
        out->encapsulation = CDR_LE;
        std::memcpy(out->data, "\0\1\0\0", 4);
        std::memcpy(out->data + 4, data, 8);
        return true;
    }
    bool deserialize(SerializedPayload_t* in, void* data) override {
        std::memcpy(data, in->data + 4, 8);
        return true;
    }
    std::function<uint32_t()> getSerializedSizeProvider(void*) override {
        return [] { return 12u; };
    }
    void* createData() override { return new Eight(); }
    void deleteData(void* data) override { delete static_cast<Eight*>(data); }
    bool getKey(void*, InstanceHandle_t*, bool) override { return false; }
};

[[noreturn]] void end(int status, const char* result, long count) {
    std::printf("%s %ld\n", result, count);
    std::fflush(stdout);
    _exit(status);  // skips the clean-up of the library, which may crash
}

DomainParticipantQos identity(const std::string& enclave) {
    DomainParticipantQos qos;
    if (enclave == "none") return qos;
    auto& set = qos.properties().properties();
    const std::string file = "file://" + enclave + "/", auth = "dds.sec.auth.builtin.PKI-DH.";
    const std::string access = "dds.sec.access.builtin.Access-Permissions.";
    set.emplace_back("dds.sec.auth.plugin", "builtin.PKI-DH");
    set.emplace_back(auth + "identity_ca", file + "identity_ca.cert.pem");
    set.emplace_back(auth + "identity_certificate", file + "cert.pem");
    set.emplace_back(auth + "private_key", file + "key.pem");
    set.emplace_back("dds.sec.crypto.plugin", "builtin.AES-GCM-GMAC");
    set.emplace_back("dds.sec.access.plugin", "builtin.Access-Permissions");
    set.emplace_back(access + "permissions_ca", file + "permissions_ca.cert.pem");
    set.emplace_back(access + "governance", file + "governance.p7s");
    set.emplace_back(access + "permissions", file + "permissions.p7s");
    return qos;
}

int main(int count, char** arguments) {
    if (count != 5) end(2, "usage", count);
    const std::string mode = arguments[1];
    auto* factory = DomainParticipantFactory::get_instance();
    auto* participant = factory->create_participant(std::atoi(std::getenv("ROS_DOMAIN_ID")), identity(arguments[2]));
    if (!participant) end(3, "refused: participant", 0);
    TypeSupport type(new Raw());
    type.register_type(participant);
    auto* topic = participant->create_topic(arguments[4], type.get_type_name(), TOPIC_QOS_DEFAULT);
    if (!topic) end(3, "refused: topic", 0);
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(long(1000 * std::atof(arguments[3])));
    Eight value{};
    long samples = 0;
    if (mode == "sub") {
        DataReaderQos qos;
        qos.reliability().kind = RELIABLE_RELIABILITY_QOS;
        auto* reader = participant->create_subscriber(SUBSCRIBER_QOS_DEFAULT)->create_datareader(topic, qos);
        if (!reader) end(3, "refused: reader", 0);
        while (std::chrono::steady_clock::now() < until) {
            SampleInfo info;
            while (reader->take_next_sample(&value, &info) == ReturnCode_t::RETCODE_OK) samples += info.valid_data;
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
        end(0, "received", samples);
    }
    auto* publisher = participant->create_publisher(PUBLISHER_QOS_DEFAULT);
    auto* writer = publisher->create_datawriter(topic, DATAWRITER_QOS_DEFAULT);
    if (!writer) end(3, "refused: writer", 0);
    while (std::chrono::steady_clock::now() < until) {
        samples += writer->write(&value);
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    end(0, "sent", samples);
}
